"""Controls of lesson 05: what the repair, the perturbation and the fade are each worth.

``python tests/benchmarks/controls/lesson_05.py --result data/results/lesson_05.json`` compresses
the built-in model to the lesson's size in the lesson's steps: PELA with its parts left out one by
one, PC-LoRA with its fade and without. Every method at its usual learning rate. What is finished is
not run again.
"""

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

import torch

from pclora_lab.data.cache import DataCache
from pclora_lab.json_files import write_json
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, RunEnd
from pclora_lab.training.loop import train

SEEDS, BUDGET = (0, 1, 2), 0.12
BASE = {"steps": 150, "evaluations": 15, "device": "cpu", "precision": "float32"}
PELA = {"name": "pela", "budget": BUDGET, "repair": 0.5}
FADE = {"name": "pclora", "budget": BUDGET, "init": "svd"}
SETTINGS: dict[str, dict[str, Any]] = {
    "PELA": PELA,
    "PC-LoRA": FADE,
    "PC-LoRA without a fade": {**FADE, "fade_end": 1e-6},
    "PELA, fine-tuning only": {**PELA, "repair": 0.0},
    "PELA, repair only": {**PELA, "repair": 1.0},
    "PELA without the perturbation": {**PELA, "perturbation_weight": 0.0},
}
KEPT = ("step", "lam", "accuracy", "accuracy_if_base_removed", "task", "feature", "perturbation")
CACHE = DataCache()


def run(out: Path, label: str, seed: int) -> dict[str, Any]:
    """One run's row; read again where it was finished before."""
    place = out / f"{label}-{seed}.json"
    if place.is_file():
        return dict(json.loads(place.read_text()))
    changed = {"method": SETTINGS[label], "seed": seed}
    history: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    for event in train(RunConfig.from_dict({**BASE, **changed}), out / "runs", cache=CACHE):
        match event:
            case LogRow(values) if values["accuracy"] is not None:
                history.append({k: _short(values[k]) for k in KEPT if values.get(k) is not None})
            case RunEnd(numbers):
                result = numbers
    kept = ("accuracy", "teacher_accuracy", "params_before", "params_after", "lr")
    row = {"label": label, "config": changed, **{key: result[key] for key in kept}}
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, row | {"history": history})
    print(label, seed, f"{row['accuracy']:.3f}", flush=True)
    return row | {"history": history}


def _short(value: float) -> float:
    return value if isinstance(value, int) else round(value, 4)


def main() -> None:
    """Run all, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/lesson_05"))
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()
    rows = [run(args.out, label, seed) for label in SETTINGS for seed in SEEDS]
    accuracies = {
        label: [row["accuracy"] for row in rows if row["label"] == label] for label in SETTINGS
    }
    record = {
        "command": f"python tests/benchmarks/controls/lesson_05.py --result data/results/"
        f"{args.result.name}",
        "hardware": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
        "base": BASE,
        "summary": {
            label: {"accuracy_mean": statistics.mean(v), "accuracy_std": statistics.stdev(v)}
            for label, v in accuracies.items()
        },
        "rows": rows,
    }
    write_json(args.result, record)


if __name__ == "__main__":
    main()
