"""Kills, crashes, full disks and odd input: what is lost, and what is said.

``make faults`` runs all of it; ``--short`` a sample with a fixed seed, a part of the tests. Faults
of the disk are made by a small library that stands before libc's functions (``preload.c``), as
tensors are written from Rust, where no patch of Python's functions reaches."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from disk import compiled

# kind: how many in the short form, and in the whole
PLAN = {
    "kills": (2, 300),
    # Fewer where a run has not so many operations, each with a before and an after.
    "crash points": (2, 2000),
    "disk faults": (2, 900),
    "full disks": (1, 14),
    "crowds": (0, 4),
    "configs": (500, 7000),
    "edited models": (10, 400),
    "damaged files": (5, 150),
    "flipped bits": (10, 400),
    "command lines": (20, 300),
    "hostile data": (30, 124),
}
PRELOADED = ("crash points", "disk faults", "full disks")


def main() -> int:
    """Run the kinds that were asked for, print the counts; 1 if anything was not kept."""
    args = _parser().parse_args()
    began = time.time()
    if args.shard is None:
        counts = _in_shards(args)
    else:
        counts = _tried(args)
    record = {
        "command": "python tests/faults/run.py " + " ".join(sys.argv[1:]),
        "seconds": round(time.time() - began, 1),
        "python": platform.python_version(),
        "torch": version("torch"),
        "hardware": f"{os.cpu_count()} {platform.machine()} cores, {platform.system()}",
        "kinds": counts,
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    print(text)
    if args.result:
        Path(args.result).write_text(text + "\n", encoding="utf8")
    return int(any(count["tried"] != _kept(count) for count in counts.values()))


def _kept(count: dict[str, Any]) -> int:
    wrong = sum(n for name, n in count.items() if name not in ("tried", "examples"))
    return count["tried"] - wrong


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a sample")
    parser.add_argument("--kinds", default=",".join(PLAN), help="some of " + ", ".join(PLAN))
    parser.add_argument("--share", type=float, default=1.0, help="of the number of trials")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="most for each kind")
    parser.add_argument("--workers", type=int, default=1, help="processes side by side")
    parser.add_argument("--result", help="file for the counts")
    parser.add_argument("--shard", help=argparse.SUPPRESS)
    return parser


def _in_shards(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The trials in processes of their own, which start with the preloaded library."""
    command = [sys.executable, __file__, "--kinds", args.kinds]
    command += ["--share", str(args.share)] + ["--short"] * args.short
    command += ["--seconds", str(args.seconds)]
    environment = _environment(compiled())
    children = [
        subprocess.Popen(
            [*command, "--seed", str(args.seed), "--shard", f"{n}/{args.workers}"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(args.workers)
    ]
    found: dict[str, dict[str, Any]] = {}
    for child in children:
        out, _ = child.communicate()
        if child.returncode not in (0, 1):
            raise RuntimeError(f"a part of the campaign ended with {child.returncode}: {out}")
        for kind, counted in json.loads(out)["kinds"].items():
            before = found.setdefault(kind, {})
            for name, number in counted.items():
                before[name] = before[name] + number if name in before else number
    return found


def _environment(library: Path | None) -> dict[str, str]:
    quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    preload = {"LD_PRELOAD": str(library)} if library else {}
    return {**os.environ, **quiet, **preload, "PYTHONWARNINGS": "ignore"}


def _tried(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    from child import warm_up
    from disks import Part
    from outcome import Outcome, count
    from tiny_runs import write_data

    warm_up()
    folder = Path(tempfile.mkdtemp(prefix="pclora_faults_")).resolve()
    write_data(folder)
    part = [int(number) for number in args.shard.split("/")]

    def all_of_them() -> Iterator[Outcome]:
        is_preloaded = "LD_PRELOAD" in os.environ
        for kind in args.kinds.split(","):
            if kind in PRELOADED and not is_preloaded:
                print(f"{kind}: left out, as there is no compiler", file=sys.stderr)
                continue
            planned = PLAN[kind][0 if args.short else 1]
            if not planned:
                continue
            number = max(1, round(planned * args.share))
            began = time.time()
            for outcome in _trials(kind, folder, number, args.seed, Part(*part), args.short):
                if outcome.verdict != "kept":
                    print(outcome, file=sys.stderr, flush=True)
                yield outcome
                if time.time() - began > args.seconds:
                    break
            print(f"{kind}: {time.time() - began:.0f} s", file=sys.stderr, flush=True)

    try:
        return count(all_of_them())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _trials(
    kind: str, folder: Path, number: int, seed: int, part: Any, short: bool
) -> Iterator[Any]:
    from crowd import crowds
    from disks import crash_points, disk_faults, full_disks
    from fuzz_configs import fuzz_configs
    from fuzz_files import damaged_files, edited_models, flipped_bits
    from fuzz_inputs import command_lines, hostile_data
    from kills import kills

    each, own_seed = -(-number // part.parts), seed + 1000 * part.number
    if kind == "configs":
        return fuzz_configs(each, own_seed)
    place = folder / kind.replace(" ", "_")
    place.mkdir()
    for name in ("pictures", "texts.csv"):
        (place / name).symlink_to(folder / name)
    of_a_folder = {
        "edited models": edited_models, "damaged files": damaged_files,
        "flipped bits": flipped_bits, "command lines": command_lines, "hostile data": hostile_data,
        "crowds": crowds,
    }  # fmt: skip
    if kind in of_a_folder:
        return of_a_folder[kind](place, each, own_seed)
    if kind == "kills":
        return kills(place, each, own_seed, only="pclora" if short else None)
    # These draw from a list that has an end: all parts draw the same, and each takes its own.
    of_disks = {"crash points": crash_points, "disk faults": disk_faults, "full disks": full_disks}
    return of_disks[kind](place, number, seed, part, only=short)


if __name__ == "__main__":
    sys.exit(main())
