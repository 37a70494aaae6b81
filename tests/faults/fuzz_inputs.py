"""Odd command lines and hostile data sets, in one process: answered in words, and soon."""

import argparse
import contextlib
import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from odd import ODD, ask
from outcome import Outcome
from tiny_runs import write_data

__all__ = ["command_lines", "hostile_data"]

_TEXTS = [str(v) for k, v in ODD.items() if isinstance(v, int | float | str) and k != "10**5000"
          and k not in ("surrogate", "long text", "nul")] + ["[[0,1],[0.5,0]]", "{", "1:2:3", "~",
          "/", "..", "a,b", "nan:1", "{\"a\": 1}", "-1e400", "9" * 30]  # fmt: skip


def command_lines(folder: Path, number: int, seed: int) -> Iterator[Outcome]:
    """Commands with odd values of their flags; those that would train are read only."""
    from pclora_lab.cli.main import _parser

    draw = random.Random(seed)
    parser = _parser()
    for trial in range(number):
        argv = _drawn(draw, folder)
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            answer = ask(lambda argv=argv: _called(parser, argv))
        detail = "" if answer.error is None else f"{type(answer.error).__name__}: {answer.error}"
        what = f"{trial}: {' '.join(argv)}"[:300]
        yield Outcome("command lines", what, answer.problem or "kept", detail[:300])


def _drawn(draw: random.Random, folder: Path) -> list[str]:
    from pclora_lab.fields import options_of
    from pclora_lab.methods.registry import METHODS
    from pclora_lab.training.config import RunConfig

    command = draw.choice(["train", "plan", "data", "resume", "export"])
    argv = [command]
    if command in ("resume", "export"):
        argv.append(draw.choice([str(folder), *_TEXTS]))
        if command == "export" and draw.random() < 0.7:
            argv += [draw.choice(["--formats", "--out"]), draw.choice(_TEXTS)]
        return argv
    if command == "data":
        argv.append(draw.choice([str(folder / "pictures"), str(folder / "texts.csv"), *_TEXTS]))
    flags = list(options_of(RunConfig)) if command != "data" else ["label_column", "max_left_out"]
    method = draw.choice(list(METHODS))
    if command != "data" and draw.random() < 0.5:
        argv += ["--method", method]
        flags += list(options_of(METHODS[method].Config)) * 2
    for _ in range(draw.randrange(1, 4)):
        argv.append(f"--{draw.choice(flags).replace('_', '-')}={draw.choice(_TEXTS)}")
    return argv


def _called(parser: argparse.ArgumentParser, argv: list[str]) -> Any:
    from pclora_lab.cli.flags import run_from_flags
    from pclora_lab.training.config import RunConfig

    try:
        args = parser.parse_args(argv)
    except SystemExit as end:
        return end.code
    return run_from_flags(args, RunConfig()) if argv[0] == "train" else args.command(args)


def hostile_data(folder: Path, number: int, seed: int) -> Iterator[Outcome]:
    """Tables and folders that nobody means well with: counted, refused, or read."""
    from pclora_lab.data.loading import load_data

    draw = random.Random(seed)
    kinds = list(_HOSTILE)
    for trial in range(number):
        kind = kinds[trial % len(kinds)]
        place = folder / f"hostile{trial}"
        place.mkdir()
        source = _HOSTILE[kind](place, draw)
        answer = ask(lambda source=source: _read(load_data(str(source))))
        detail = "" if answer.error is None else f"{type(answer.error).__name__}: {answer.error}"
        verdict = answer.problem or "kept"
        yield Outcome("hostile data", f"{trial}: {kind}", verdict, detail[:300])


def _read(data: Any) -> int:
    """Every example once, as a run does."""
    splits = (data.train, data.validation, data.test)
    return sum(split.examples[n] is not None for split in splits for n in range(len(split)))


def _table(text: str | bytes, name: str = "data.csv") -> Callable[[Path, random.Random], Path]:
    def write(place: Path, draw: random.Random) -> Path:
        path = place / name
        path.write_bytes(text.encode("utf8", "surrogatepass") if isinstance(text, str) else text)
        return path

    return write


def _png(width: int, height: int) -> bytes:
    """The head of a picture of that size, with next to nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def _pictures(change: Callable[[Path, random.Random], None]) -> Callable[..., Path]:
    def write(place: Path, draw: random.Random) -> Path:
        write_data(place)
        change(place / "pictures" / "train" / "a" / "0.png", draw)
        return place / "pictures"

    return write


def _scattered(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(5):
        data[draw.randrange(len(data))] = draw.randrange(256)
    path.write_bytes(data)


def _named(name: str) -> Callable[[Path, random.Random], None]:
    return lambda path, _: (path.parent / name).write_bytes(_png(8, 8)) and None


def _loop(path: Path, draw: random.Random) -> None:
    (path.parent / "loop").symlink_to(path.parent.parent)
    (path.parent / "self.png").symlink_to("self.png")


def _parquet(place: Path, draw: random.Random) -> Path:
    import pandas as pd

    path = place / "data.parquet"
    pd.DataFrame({"text": ["a b", "c d"] * 20, "label": ["x", "y"] * 20}).to_parquet(path)
    data = bytearray(path.read_bytes())
    for _ in range(draw.randrange(1, 6)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    path.write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
    return path


_ROWS = "".join(f"a bird {n},{'xy'[n % 2]}\n" for n in range(40))
_HOSTILE: dict[str, Callable[[Path, random.Random], Path]] = {
    "nothing": _table(""), "zeros": _table(bytes(1000)), "only a head": _table("text,label\n"),
    "one class": _table("text,label\n" + "a,x\n" * 50),
    "an open quote": _table('text,label\n"a,x\n' + _ROWS * 20),
    "nul": _table("text,label\na\0b,x\n" + _ROWS),
    "utf-16": _table(("text,label\n" + _ROWS).encode("utf-16")),
    "latin": _table(("text,label\n\xe9t\xe9,x\n" + _ROWS).encode("latin-1")),
    "no utf-8": _table(b"text,label\n\xff\xfe\xfd,x\n" + _ROWS.encode()),
    "a long line": _table("text,label\n" + "a" * 5_000_000 + ",x\n" + _ROWS),
    "wide": _table(",".join(f"c{n}" for n in range(3000)) + f"\n{','.join('1' * 3000)}" * 20),
    "two heads": _table("text,text,label,label\na,b,x,y\n" * 20),
    "ragged": _table("text,label\n" + "a\n" + "b,x,y,z\n" + _ROWS),
    "huge number": _table("text,label\n" + f"a,{'9' * 400}\n" * 3 + _ROWS),
    "deep json": _table("[" * 200_000, "data.json"),
    "deep lines": _table('{"text": ' * 5000 + "\n", "data.jsonl"),
    "odd json": _table(json.dumps([{"text": {"a": 1}, "label": []}] * 30), "data.json"),
    "big int json": _table('[{"text": "a", "label": ' + "9" * 6000 + "}]", "data.json"),
    "nan json": _table('[{"text": NaN, "label": Infinity}]', "data.json"),
    "no parquet": _table(b"PAR1" + bytes(100) + b"PAR1", "data.parquet"), "parquet": _parquet,
    "a bomb": _pictures(lambda path, _: path.write_bytes(_png(60_000, 60_000)) and None),
    "a larger bomb": _pictures(lambda path, _: path.write_bytes(_png(2**30, 2**30)) and None),
    "a cut picture": _pictures(lambda path, _: path.write_bytes(path.read_bytes()[:50]) and None),
    "a scattered picture": _pictures(_scattered), "loops": _pictures(_loop),
    "no picture": _pictures(lambda path, _: path.write_bytes(b"GIF89a") and None),
    "svg": _pictures(lambda path, _: path.with_suffix(".svg").write_text("<svg/>") and None),
    "no name": _pictures(_named("\udcff.png")), "a newline": _pictures(_named("a\nb.png")),
    "an empty folder": lambda place, _: place,
}  # fmt: skip
