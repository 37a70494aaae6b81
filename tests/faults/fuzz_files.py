"""Damaged files of runs and models, edited configs and flipped bits: said, or read as they were."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from child import Child, command_line
from odd import ODD, Answer, ask
from outcome import Outcome
from tiny_runs import hurry, write_config

__all__ = ["damaged_files", "edited_models", "flipped_bits"]

_PLAIN = [v for k, v in ODD.items() if isinstance(v, int | float | str | list | dict | None)
          and k not in ("10**400", "10**5000", "surrogate", "nan", "inf", "-inf")]  # fmt: skip


def _finished_run(folder: Path) -> Path:
    """One run, with its teacher kept beside it."""
    place = folder / "made"
    if not place.is_dir():
        place.mkdir(parents=True)
        config = write_config(folder, "pclora", "pictures")
        child = Child(hurry(command_line("train", "--config", config, "--out", "runs")), place)
        ended = child.end()
        if ended.code != 0:
            raise RuntimeError(ended.err)
    return next(p for p in (place / "runs").iterdir() if (p / "config.json").is_file())


def _outcome(kind: str, what: str, answer: Answer) -> Outcome:
    detail = "" if answer.error is None else f"{type(answer.error).__name__}: {answer.error}"
    return Outcome(kind, what, answer.problem or "kept", detail[:300])


def damaged_files(folder: Path, number: int, seed: int) -> Iterator[Outcome]:
    """Cut, emptied, replaced and edited files of a run, and what reads them."""
    from pclora_lab.models.serialization import from_pretrained
    from pclora_lab.runs.reader import load_run, scan_runs
    from pclora_lab.runs.resuming import read_resumption

    draw, run = random.Random(seed), _finished_run(folder)
    names = sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file())
    for trial in range(number):
        copy = folder / "copies" / "run"
        shutil.copytree(run, copy)
        name, way = draw.choice(names), draw.choice(list(_DAMAGES))
        _DAMAGES[way](copy / name, draw)
        if draw.random() < 0.5 and name != "status.json":  # a run that was stopped
            (copy / "status.json").write_text('{"status": "stopped"}')
        readers: dict[str, Callable[[], Any]] = {
            "list": lambda: scan_runs(folder / "copies"),
            "read": lambda copy=copy: load_run(copy),
            "resume": lambda copy=copy: read_resumption(copy),
            "model": lambda copy=copy: from_pretrained(copy / "compressed"),
        }
        for reader, read in readers.items():
            yield _outcome("damaged files", f"{trial}: {name} {way}, {reader}", ask(read))
        shutil.rmtree(folder / "copies")


def _cut(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size + 1)])


def _scatter(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(min(8, len(data))):
        data[draw.randrange(len(data))] = draw.randrange(256)
    path.write_bytes(data)


def _folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _odd_value(path: Path, draw: random.Random) -> None:
    """Another value somewhere in JSON; other files get a line of it."""
    value = draw.choice(_PLAIN)
    try:
        values = json.loads(path.read_text(encoding="utf8"))
    except (ValueError, UnicodeDecodeError):
        path.write_text(_dumped(value) + "\n")
        return
    path.write_text(_dumped(edited(values, value, draw)))


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        return "[" * 100_000 + "]" * 100_000


_DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "cut": _cut,
    "scattered": _scatter,
    "emptied": lambda path, _: path.write_bytes(b"") and None,
    "zeros": lambda path, _: path.write_bytes(bytes(path.stat().st_size)) and None,
    "gone": lambda path, _: path.unlink(),
    "a folder": _folder,
    "an odd value": _odd_value,
    "deep": lambda path, _: path.write_text("[" * 100_000 + "]" * 100_000) and None,
}


def edited(values: Any, value: Any, draw: random.Random) -> Any:
    """JSON with another value at some place, or without it."""
    if isinstance(values, dict) and values and draw.random() < 0.9:
        key = draw.choice(sorted(values))
        if draw.random() < 0.1:
            return {k: v for k, v in values.items() if k != key}
        return {**values, key: edited(values[key], value, draw)}
    if isinstance(values, list) and values and draw.random() < 0.7:
        index = draw.randrange(len(values))
        return [*values[:index], edited(values[index], value, draw), *values[index + 1 :]]
    return value


def edited_models(folder: Path, number: int, seed: int) -> Iterator[Outcome]:
    """Edits of a saved model's config.json: refused in words, or the same model."""
    import torch

    from pclora_lab.models.serialization import from_pretrained

    draw, model = random.Random(seed), folder / "model"
    shutil.copytree(_finished_run(folder) / "compressed", model, dirs_exist_ok=True)
    path = model / "config.json"
    good, values = path.read_text(), json.loads(path.read_text())
    example = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = from_pretrained(model)(example)
    for trial in range(number):
        changed = edited(values, draw.choice(_PLAIN), draw)
        path.write_text(_dumped(changed))
        answer = ask(lambda: from_pretrained(model)(example))
        what = f"{trial}: {_difference(values, changed)}"
        if answer.error is None and not torch.equal(answer.value, expected):
            yield Outcome("edited models", what, "different", "other logits without a word")
        else:
            yield _outcome("edited models", what, answer)
    path.write_text(good)


def _difference(values: Any, changed: Any, place: str = "") -> str:
    if isinstance(values, dict) and isinstance(changed, dict):
        for key in values:
            if key not in changed:
                return f"{place}.{key} is gone"
            if values[key] is not changed[key] and values[key] != changed[key]:
                return _difference(values[key], changed[key], f"{place}.{key}")
    return f"{place} became {str(changed)[:60] if not isinstance(changed, list) else 'a list'}"


def flipped_bits(folder: Path, number: int, seed: int) -> Iterator[Outcome]:
    """One bit of a tensor file: its reader refuses the file, or falls back in words."""
    from safetensors.torch import load_file

    from pclora_lab.models.serialization import from_pretrained

    draw, run = random.Random(seed), _finished_run(folder)
    model = folder / "flipped"
    shutil.copytree(run / "compressed", model, dirs_exist_ok=True)
    path = model / "model.safetensors"
    good, expected = path.read_bytes(), load_file(path)
    for trial in range(number):
        place, bit = draw.randrange(len(good)), draw.randrange(8)
        data = bytearray(good)
        data[place] ^= 1 << bit
        path.write_bytes(data)
        answer = ask(lambda: from_pretrained(model).state_dict())
        what = f"{trial}: bit {bit} of byte {place} of {len(good)}"
        same = answer.error is not None or all(
            name not in expected or tensor.equal(expected[name])
            for name, tensor in answer.value.items()
        )
        if same:
            yield _outcome("flipped bits", what, answer)
        else:
            yield Outcome("flipped bits", what, "different", "another model without a word")
    path.write_bytes(good)
