"""Is a method as accurate when it is trained in bfloat16 as in float32?

``python tests/benchmarks/precision.py --model local-dir:FOLDER --data FOLDER --img-size 64``
fine-tunes one teacher in float32 on a part of the data, trains every method of a comparison from it
with several seeds in both precisions, and reads the *validation* split in float32, as a saved model
is used.

A method passes if the means differ by no more than its own seeds do in float32.
"""

import argparse
import dataclasses
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pclora_lab.data.cache import DataCache
from pclora_lab.methods.registry import compared_methods, make_method, method_class
from pclora_lab.models.serialization import save_pretrained
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import RunEnd
from pclora_lab.training.loop import train

PRECISIONS = ("float32", "bfloat16")


def finished(config: RunConfig, root: Path, cache: DataCache) -> RunEnd:
    """The end of a run."""
    *_, end = train(config, root, cache=cache)
    assert isinstance(end, RunEnd)
    return end


def fine_tuned(base: RunConfig, root: Path, cache: DataCache) -> str:
    """The name of a folder with the teacher that all runs share."""
    config = dataclasses.replace(
        base, method=method_class("svd").default_config(), precision="float32"
    )
    end = finished(config, root, cache)
    print("teacher", end.result["teacher_accuracy"], file=sys.stderr)
    return f"{save_pretrained(end.teacher, root / 'teacher')}"


def part_of(data: Path, examples: int, folder: Path) -> str:
    """A folder with so many training examples of another one; the test split is not read here."""
    for name, count in (("train", examples), ("test", 100)):
        frame = pd.read_parquet(data / f"{name}.parquet")
        frame.sample(count, random_state=0).to_parquet(folder / f"{name}.parquet")
    return str(folder)


def runs(args: argparse.Namespace, base: RunConfig, cache: DataCache) -> Iterator[dict[str, Any]]:
    """An accuracy for every method, seed and precision."""
    names = args.methods or [n for n in compared_methods() if method_class(n).trains]
    for name in names:
        method = make_method(method_class(name).default_config()).with_budget(args.budget).config
        for seed in range(args.seeds):
            for precision in PRECISIONS:
                config = dataclasses.replace(
                    base, method=method, seed=seed, precision=precision, lr=None
                )
                with tempfile.TemporaryDirectory() as folder:
                    end = finished(config, Path(folder), cache)
                found = {"method": name, "seed": seed, "precision": precision}
                found["accuracy"] = end.result["accuracy"]
                print(found, file=sys.stderr, flush=True)
                yield found


def compared(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By method: both means, how far the seeds lie apart in float32, and whether that is more."""
    table = {}
    for name in dict.fromkeys(run["method"] for run in found):
        by = {
            p: [r["accuracy"] for r in found if r["method"] == name and r["precision"] == p]
            for p in PRECISIONS
        }
        full, half = (statistics.mean(by[p]) for p in PRECISIONS)
        spread = max(by["float32"]) - min(by["float32"])
        table[name] = {**by, "difference": half - full, "spread": spread}
        table[name]["passes"] = abs(half - full) <= spread
    return table


def main() -> None:
    """Train everything twice, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True, help="a folder of parquet files")
    parser.add_argument("--examples", type=int, default=8000)
    parser.add_argument("--img-size", type=int)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--teacher-steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=0.2)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    small = tempfile.TemporaryDirectory()
    data = part_of(args.data, args.examples, Path(small.name))
    base = RunConfig(
        model=args.model, data=data, img_size=args.img_size, steps=args.steps,
        teacher_steps=args.teacher_steps, evaluations=1, eval_images=64, layer_metrics=False,
        snapshots=0, report_on="validation", device="cpu",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, small:
        cache = DataCache()
        teacher = fine_tuned(base, Path(folder), cache)
        # The folder knows its side.
        taught = dataclasses.replace(base, model=teacher, img_size=None, teacher="pretrained")
        found = list(runs(args, taught, cache))
    table = compared(found)
    for name, row in table.items():
        print(f"{name:>10}", {k: v for k, v in row.items() if k not in PRECISIONS})
    if args.result:
        hardware = f"{os.cpu_count()} {platform.machine()} cores, torch {torch.__version__}"
        command = "python tests/benchmarks/precision.py " + " ".join(sys.argv[1:])
        record = {"command": command, "hardware": hardware, "split": "validation", "methods": table}
        args.result.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
