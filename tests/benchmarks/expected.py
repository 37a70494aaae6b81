"""What the built-in presets give at other ranks: the lab's forecast before anybody has trained.

Every size of a preset with three seeds, through the ``train`` command and with its defaults; the
accuracies are those of the test split, as for every run that a forecast is read from. Finished
runs are not repeated.

    python tests/benchmarks/expected.py --result data/results/expected.json
"""

import argparse
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from pclora_lab.json_files import write_json
from pclora_lab.runs.reader import load_run

# As the form's buttons "Paper" and "Recommended" have it.
ZEROS, ACTIVATIONS = "zeros", "activation_svd"
PRESETS = {
    "vit_digits": ("digits", (ZEROS, ACTIVATIONS), (2, 4, 8, 16, 32)),
    "bert_glosses": ("glosses", (ACTIVATIONS,), (4, 8, 16)),
}
KEPT = ("accuracy", "teacher_accuracy", "params_after", "params_removed_whole", "seconds")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs/expected"))
    parser.add_argument("--result", type=Path, required=True)
    return parser.parse_args()


def run(runs: Path, model: str, data: str, start: str, rank: int, seed: str) -> dict[str, Any]:
    """One run, or its result if it was done before."""
    out = runs / f"{model}-{start}-{rank}-{seed}"
    if next(out.glob("*/result.json"), None) is None:
        flags = {
            "--model": model, "--data": data, "--init": start, "--rank": rank, "--seed": seed,
            "--out": out,
        }  # fmt: skip
        flat = [str(part) for pair in flags.items() for part in pair]
        command = [sys.executable, "-m", "pclora_lab", "train", "--json", *flat]
        subprocess.run(command, check=True, capture_output=True)
    found = load_run(next(out.glob("*/result.json")).parent)
    result = found.result or {}
    return {"config": found.config, **{name: result[name] for name in KEPT}}


def main() -> None:
    args = arguments()
    rows = []
    for model, (data, starts, ranks) in PRESETS.items():
        for start, rank in itertools.product(starts, ranks):
            seeds = args.seeds.split(",")
            found = [run(args.runs, model, data, start, rank, seed) for seed in seeds]
            print(model, start, rank, [row["accuracy"] for row in found], file=sys.stderr)
            rows += found
    report = {
        "command": " ".join(["python", "tests/benchmarks/expected.py", *sys.argv[1:]]),
        "hardware": f"{os.cpu_count()} CPU cores",
        "torch": torch.__version__,
        "runs": rows,
    }
    write_json(args.result, report)


if __name__ == "__main__":
    main()
