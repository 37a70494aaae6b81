"""What to expect of the exercises that have no single answer: the lessons' own runs, three seeds.

``python tests/benchmarks/controls/open_exercises.py --result data/results/open_exercises.json``
runs what exercises 3 and 4 of lessons 00, 05, 06 and 07 ask a student to try. Lesson 07 is a
comparison, which searches each method's learning rate; the others take the rate of the lesson for
all settings, so they judge no method. What is finished is not run again.
"""

import os
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from seeded_runs import arguments, inverted_digits

from pclora_lab import compare
from pclora_lab.data.cache import DataCache
from pclora_lab.json_files import read_json, write_json
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import RunEnd
from pclora_lab.training.loop import train

SEEDS, CACHE = (0, 1, 2), DataCache()
BASE = {"model": "vit_digits", "evaluations": 2, "device": "cpu", "precision": "float32"}
KEPT = ("accuracy", "teacher_accuracy", "params_before", "params_after")

FADE = {"name": "pclora", "init": "activation_svd"}
SNELLA = {"name": "snella", "rank": 8, "sparsity": 0.9}
Settings = dict[str, dict[str, Any]]


def settings(inverted: str) -> Settings:
    """A run's options by exercise and label; lesson 06 takes the inverted digits."""
    repair = {
        f"REPAIR = {r:g}, budget {b}": {"name": "pela", "budget": b, "repair": r}
        for b in (0.12, 0.04)
        for r in (0.0, 0.5, 1.0)
    }
    kernels = {
        kernel: {**SNELLA, "kernel": kernel} for kernel in ("piecewise_linear", "linear", "mixed")
    }
    kernels["allocations = 1"] = {**SNELLA, "allocations": 1}
    ranks = {f"rank {r}": {**FADE, "rank": r} for r in (8, 4)}
    found = {f"00: {k}": {"method": m, "steps": 300, "lr": 5e-3} for k, m in ranks.items()}
    found |= {f"05: {k}": {"method": m, "steps": 150, "lr": 1e-3} for k, m in repair.items()}
    adapt = {"data": inverted, "steps": 150, "lr": 1e-2}
    found |= {f"06: {k}": {"method": m, **adapt} for k, m in kernels.items()}
    return found


def compared(out: Path) -> list[dict[str, Any]]:
    """The rows of lesson 07, with ``svd_kd`` among its methods."""
    grid = {"methods": ("pclora", "svd_kd"), "budgets": (0.05, 0.2), "seeds": SEEDS}
    rows = compare(RunConfig(steps=30, evaluations=2), **grid, out=out).to_dict("records")
    return [
        {
            "label": f"07: {row['method']}, budget {row['budget']}",
            "seed": int(row["seed"]),
            "lr": row["lr"],
            **{key: row[key] for key in KEPT},
        }
        for row in rows
    ]


def run(out: Path, label: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """One run's row; read again where it was finished before."""
    place = out / f"{label.replace(': ', ' ')}-{seed}.json"
    if place.is_file():
        return dict(read_json(place))
    config, result = RunConfig.from_dict({**BASE, **options, "seed": seed}), {}
    for event in train(config, out / "runs", cache=CACHE):
        if isinstance(event, RunEnd):
            result = event.result
    row = {"label": label, "seed": seed, **{key: result[key] for key in KEPT}}
    write_json(place, row)
    print(label, seed, f"{row['accuracy']:.3f}", file=sys.stderr, flush=True)
    return row


def summarize(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Test accuracy over seeds, by label."""
    table: dict[str, list[float]] = {}
    for row in rows:
        table.setdefault(row["label"], []).append(row["accuracy"])
    return {
        label: {"accuracy_mean": statistics.mean(v), "accuracy_std": statistics.stdev(v)}
        for label, v in table.items()
    }


def main() -> None:
    """Run everything, write the record."""
    args = arguments(__doc__.splitlines()[0], "runs/open_exercises")
    asked = settings(inverted_digits(args.out / "inverted_digits"))
    rows = [run(args.out, label, asked[label], seed) for label in asked for seed in SEEDS]
    rows += compared(args.out / "side_by_side")
    record = {
        "command": f"python tests/benchmarks/controls/open_exercises.py --result {args.result}",
        "hardware": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
        "base": BASE,
        "settings": settings("the digits, inverted"),
        "summary": summarize(rows),
        "rows": rows,
    }
    write_json(args.result, record)


if __name__ == "__main__":
    main()
