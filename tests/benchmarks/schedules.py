"""What does the schedule change? Shapes of the fade, its end, and the control without a fade.

``python tests/benchmarks/schedules.py --result data/results/schedules.json`` compresses the
embedded model with every schedule and with several ends q of the fade, and with none at all. For
each shape the learning rate is chosen on the validation split with the first seed; the other ends
of the fade take the rate of the usual one. The test split is what gets reported. What is finished
is not run again.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from pclora_lab.data.cache import DataCache
from pclora_lab.json_files import write_json
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, RunEnd
from pclora_lab.training.loop import train

LRS, SEEDS = (1e-2, 2e-2), (0, 1, 2)
BASE = {"steps": 200, "evaluations": 20, "device": "cpu", "precision": "float32"}
KEPT = ("step", "lam", "accuracy", "accuracy_if_base_removed")
CACHE = DataCache()

FADE = {"name": "pclora", "rank": 4, "init": "zeros"}
SHAPES = {
    "sine": FADE,
    "linear": {**FADE, "schedule": "linear"},
    "one_minus_cosine": {**FADE, "schedule": "one_minus_cosine"},
    "identity": {**FADE, "schedule": "identity"},
    "drawn": {**FADE, "schedule": [[0, 1], [0.1, 0.3], [0.5, 0.1], [0.6, 0]]},
}
ENDS = {f"q = {q:g}": {**FADE, "fade_end": q} for q in (0.2, 0.4, 0.9)}
CONTROLS = {
    "zeros, no fade": {**FADE, "fade_end": 1e-6},
    "svd, sine": {**FADE, "init": "svd"},
    "svd, no fade (SVD + KD)": {"name": "svd_kd", "rank": 4, "init": "svd"},
}


def run(out: Path, label: str, method: dict[str, Any], lr: float, seed: int) -> dict[str, Any]:
    """One run's row; read again where it was finished before."""
    place = out / f"{label}-{lr:g}-{seed}.json"
    if place.is_file():
        return json.loads(place.read_text())
    changed = {"method": method, "lr": lr, "seed": seed}
    history, result = [], {}
    for event in train(RunConfig.from_dict({**BASE, **changed}), out / "runs", cache=CACHE):
        match event:
            case LogRow(values) if values["accuracy"] is not None:
                history.append({k: _short(values[k]) for k in KEPT if k in values})
            case RunEnd(numbers):
                result = numbers
    kept = ("accuracy", "teacher_accuracy", "params_before", "params_after")
    row = {"label": label, "config": changed, **{key: result[key] for key in kept}}
    row |= {"validation_accuracy": history[-1]["accuracy"], "history": history}
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, row)
    print(label, lr, seed, f"{row['validation_accuracy']:.3f}", file=sys.stderr, flush=True)
    return row


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def best_rates(
    out: Path, settings: dict[str, dict[str, Any]], tried: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Rows of every setting and seed, at the rate that was best on validation data.

    Args:
        out: folder of finished rows.
        settings: method options by label.
        tried: what every rate gave is added here.
    """
    rows = []
    for label, method in settings.items():
        trials = [run(out, label, method, lr, SEEDS[0]) for lr in LRS]
        tried += [
            {"label": label, "lr": t["config"]["lr"], "validation": t["validation_accuracy"]}
            for t in trials
        ]
        best = max(trials, key=lambda row: row["validation_accuracy"])
        rows += [best, *(run(out, label, method, best["config"]["lr"], s) for s in SEEDS[1:])]
    return rows


def summarize(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Test accuracy over seeds, by label."""
    table = {}
    for label in dict.fromkeys(row["label"] for row in rows):
        own = [row for row in rows if row["label"] == label]
        values = [row["accuracy"] for row in own]
        table[label] = {
            "accuracy_mean": statistics.mean(values),
            "accuracy_std": statistics.stdev(values),
            "lr": own[0]["config"]["lr"],
            "seeds": len(values),
        }
    return table


def save(result: Path, rows: list[dict[str, Any]], tried: list[dict[str, Any]]) -> None:
    """Write the record, with the command that made it."""
    command = f"python tests/benchmarks/{Path(sys.argv[0]).name} --result data/results/"
    record = {
        "command": command + result.name,
        "hardware": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
        "base": BASE,
        "summary": summarize(rows),
        "learning_rates_tried": tried,
        "rows": rows,
    }
    write_json(result, record)


def arguments(default_config: str) -> argparse.Namespace:
    """Where to keep finished rows and where to write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(default_config))
    parser.add_argument("--result", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Run the grid, write the record."""
    args, tried = arguments("runs/schedules"), []
    rows = best_rates(args.out, {**SHAPES, **CONTROLS}, tried)
    lr = next(row["config"]["lr"] for row in rows if row["label"] == "sine")
    rows += [run(args.out, q, ENDS[q], lr, seed) for q in ENDS for seed in SEEDS]
    save(args.result, rows, tried)


if __name__ == "__main__":
    main()
