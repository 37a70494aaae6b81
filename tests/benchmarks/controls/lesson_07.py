"""What does the work: the start, the teacher or the fade? The controls of lesson 07.

``python tests/benchmarks/controls/lesson_07.py --result data/results/lesson_07.json`` compresses
the built-in model from both singular value decompositions and from nothing, with and without a
teacher, with and without the fade, at the budget at which the lesson's methods part. Every setting
has its own learning rate, searched on the validation split as in any comparison (first seed); the
test split is reported. What is finished is not run again.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from pclora_lab import Comparison, RunConfig
from pclora_lab.json_files import write_json
from pclora_lab.methods import config_from_dict

BUDGET, SEEDS = 0.05, (0, 1, 2)
LABELS_ALONE = {"alpha": 1.0}
KEPT = (
    *("budget", "seed", "accuracy", "teacher_accuracy", "params_before", "params_after"),
    *("lr", "steps", "error"),
)
Settings = dict[str, dict[str, Any]]


def settings() -> Settings:
    """Method options by label: method, start, who teaches."""
    found: Settings = {}
    for start in ("activation_svd", "svd", "zeros"):
        for label, loss in (("teacher", {}), ("labels alone", LABELS_ALONE)):
            found[f"PC-LoRA, {start}, {label}"] = {"name": "pclora", "init": start, **loss}
            if start != "zeros":
                found[f"SVD + KD, {start}, {label}"] = {"name": "svd_kd", "init": start, **loss}
    found["PELA, svd, teacher"] = {"name": "pela"}
    found["PELA, svd, labels alone"] = {"name": "pela", "repair": 0.0}
    found["cut, svd, nobody"] = {"name": "svd"}
    found["cut, activation_svd, nobody"] = {"name": "activation_svd"}
    return found


def compared(
    out: Path, base: RunConfig, label: str, method: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One setting's rows, and the learning rates that were tried."""
    config = config_from_dict(method)
    folder = out / label.replace(", ", "-").replace(" ", "_")
    grid: dict[str, Any] = {"methods": (config.name,), "budgets": (BUDGET,), "seeds": SEEDS}
    comparison = Comparison(base, **grid, options={config.name: config}, out=folder)
    for _ in comparison.run():
        pass
    rows = [{"label": label, **{key: row[key] for key in KEPT}} for row in comparison.rows()]
    tried = [
        {"label": label, "lr": t["lr"], "validation": t["validation_accuracy"]}
        for t in comparison.tuning
    ]
    mean = statistics.mean(row["accuracy"] for row in rows)
    print(f"{label:40} {mean:.3f}", file=sys.stderr, flush=True)
    return rows, tried


def main() -> None:
    """Run every setting, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/lesson_07"))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()
    base = RunConfig(steps=args.steps, evaluations=2, device="cpu")
    rows, tried = [], []
    for label, method in settings().items():
        more, rates = compared(args.out, base, label, method)
        rows += more
        tried += rates
    record = {
        "command": "python tests/benchmarks/controls/lesson_07.py --result data/results/"
        + args.result.name,
        "hardware": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
        "base": base.to_dict(),
        "learning_rates_tried": tried,
        "rows": rows,
    }
    write_json(args.result, record)


if __name__ == "__main__":
    main()
