"""Compare the starts of A, B, C at equal steps, through the ``train`` command.

For every start, the learning rate is chosen on the validation split with the first seed; the
other seeds then use it, and the test split is what gets reported. Finished runs are not repeated.

The embedded model (three seeds):
    python tests/benchmarks/starts.py --result data/results/starts_digits.json
DeiT-Tiny on CIFAR-10 at 64 px:
    python tests/benchmarks/starts.py --model local-dir:../shared/data/deit_tiny \\
        --data ../shared/data/cifar10 --img-size 64 --rank 16 --steps 400 --teacher-steps 600 \\
        --lrs 1e-3,3e-3 --seeds 0,1 --evaluations 10 \\
        --result data/results/starts_deit_tiny_cifar10.json
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from pclora_lab.json_files import write_json
from pclora_lab.runs.reader import load_run

KEPT = ("step", "accuracy_if_base_removed")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_digits")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--img-size", type=int)
    parser.add_argument("--rank", default="8")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--teacher-steps", type=int, default=600)
    parser.add_argument("--starts", default="activation_svd,zeros,svd")
    parser.add_argument("--lrs", default="2e-3,5e-3")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--evaluations", type=int, default=12)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--result", type=Path, required=True)
    return parser.parse_args()


def run(args: argparse.Namespace, start: str, lr: str, seed: str) -> dict[str, Any]:
    """One run of the train command, or its result if it was done before."""
    out = args.runs / f"{Path(args.model).name}-{args.steps}-{start}-{lr}-{seed}"
    done = next(out.glob("*/result.json"), None)
    if done is None:
        command = [sys.executable, "-m", "pclora_lab", "train", "--json"]
        flags = {
            "--model": args.model, "--data": args.data, "--rank": args.rank, "--init": start,
            "--steps": args.steps, "--teacher-steps": args.teacher_steps, "--lr": lr,
            "--seed": seed, "--evaluations": args.evaluations, "--out": out,
        }  # fmt: skip
        if args.img_size:
            flags["--img-size"] = args.img_size
        (args.runs / "teachers").mkdir(parents=True, exist_ok=True)
        out.mkdir(exist_ok=True)
        if not (out / "teachers").exists():
            (out / "teachers").symlink_to((args.runs / "teachers").resolve())
        flat = [str(part) for pair in flags.items() for part in pair]
        subprocess.run([*command, *flat], check=True, stdout=subprocess.DEVNULL)
        done = next(out.glob("*/result.json"))
    return read(done.parent, start, lr, seed)


def read(folder: Path, start: str, lr: str, seed: str) -> dict[str, Any]:
    record = load_run(folder)
    measured = [r for r in record.rows if r.get("phase") == "fade" and r["accuracy"] is not None]
    result = {k: v for k, v in record.result.items() if k != "run_dir"}
    return {
        **result,
        "start": start,
        "lr": float(lr),
        "seed": int(seed),
        "validation_accuracy": measured[-1]["accuracy"],
        "history": [{key: row.get(key) for key in KEPT} for row in measured],
    }


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds, per start."""
    table = {}
    for start in dict.fromkeys(row["start"] for row in rows):
        values = [row["accuracy"] for row in rows if row["start"] == start]
        table[start] = {
            "accuracy_mean": statistics.mean(values),
            "accuracy_std": statistics.stdev(values) if len(values) > 1 else None,
            "lr": next(row["lr"] for row in rows if row["start"] == start),
            "seeds": len(values),
        }
    return table


def main() -> None:
    args = arguments()
    first, *others = args.seeds.split(",")
    chosen, tried = [], []
    for start in args.starts.split(","):
        trials = [run(args, start, lr, first) for lr in args.lrs.split(",")]
        best = max(trials, key=lambda row: row["validation_accuracy"])
        tried += [{k: t[k] for k in ("start", "lr", "seed", "validation_accuracy")} for t in trials]
        chosen.append(best)
        chosen += [run(args, start, f"{best['lr']:g}", seed) for seed in others]
        print(start, summarize(chosen)[start], file=sys.stderr, flush=True)
    report = {
        "command": " ".join(["python", "tests/benchmarks/starts.py", *sys.argv[1:]]),
        "hardware": f"{os.cpu_count()} CPU cores" if chosen[0]["device"] == "cpu" else "GPU",
        "torch": torch.__version__,
        "summary": summarize(chosen),
        "learning_rates_tried": tried,
        "runs": chosen,
    }
    args.result.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.result, report)


if __name__ == "__main__":
    main()
