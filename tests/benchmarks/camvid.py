"""Which method keeps the classes of a street scene? CamVid, DeiT-Tiny, a linear head per patch.

    python tests/benchmarks/camvid.py --data ../shared/data --result data/results/camvid.json

One fine-tuned teacher, and every method at one budget, one learning rate and the same steps, seed
by seed: what is finished is not run again, and the record is written after every seed. LoRA, SNELLA
and full fine-tuning start from the pre-trained model, as they do elsewhere. CamVid is for research
only: the record holds numbers and no picture.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pclora_lab.json_files import read_json, write_json
from pclora_lab.machine import processor
from pclora_lab.runs.comparison import Comparison
from pclora_lab.training.config import RunConfig

METHODS = ("pclora", "pela", "snella", "lora", "svd", "full")
KEPT = (
    "miou", "pixel_accuracy", "teacher_miou", "teacher_pixel_accuracy", "params_before",
    "params_after", "params_trained", "params_removed_replaced", "lr",
    "steps", "seconds",
)  # fmt: skip


def main() -> None:
    """Compare seed by seed, and write what there is after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with camvid, deit_tiny")
    parser.add_argument("--out", type=Path, default=Path("runs/camvid"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--teacher-steps", type=int, default=400)
    parser.add_argument("--budget", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=1e-3, help="of every method; none is tuned")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    for seeds in range(1, args.seeds + 1):
        record = compared(args, range(seeds))
        if args.result:
            write_json(args.result, record)
        print(f"{seeds} of {args.seeds} seeds: {record['miou']}", flush=True)


def compared(args: argparse.Namespace, seeds: range) -> dict[str, Any]:
    """The record of so many seeds."""
    base = RunConfig(
        task="semantic-segmentation", model=str(args.data / "deit_tiny"), img_size=96,
        data=str(args.data / "camvid"), steps=args.steps, batch_size=16, teacher_lr=5e-4,
        teacher_steps=args.teacher_steps, evaluations=2, eval_images=32, snapshots=0,
        layer_metrics=False, device="cpu", precision="float32",
    )  # fmt: skip
    grid = {"methods": args.methods, "budgets": (args.budget,), "lrs": (args.lr,)}
    comparison = Comparison(base, seeds=seeds, out=args.out, **grid)
    for step in comparison.run():
        if step.ends_cell and not step.was_there:
            print(f"{step.cell.name}: {step.done} of {step.total} steps", flush=True)
    rows = [row for row in comparison.rows() if row.get("miou") is not None]
    taught = next(row for row in rows if row.get("teacher_miou") is not None)
    given = " ".join(part for part in sys.argv[1:] if part != str(args.data))
    return {
        "command": f"python tests/benchmarks/camvid.py {given}".replace("--data", "--data DATA"),
        "seed": list(seeds),
        "hardware": f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "model": "DeiT-Tiny at 96×96 px, 36 patches, a linear layer per patch",
        "teacher": {name: taught[f"teacher_{name}"] for name in ("miou", "pixel_accuracy")},
        "budget": args.budget,
        "miou": dict(means(rows)),
        "iou_by_class": {name: by_class(args.out, name) for name in args.methods},
        "rows": [{key: row.get(key) for key in ("method", "seed", *KEPT)} for row in rows],
        "failed": [row["method"] for row in comparison.rows() if row.get("miou") is None],
    }


def means(rows: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, float]]]:
    """Mean and standard deviation over the seeds, by method."""
    for name in dict.fromkeys(row["method"] for row in rows):
        values = [row["miou"] for row in rows if row["method"] == name]
        yield name, {"mean": statistics.mean(values), "std": statistics.pstdev(values)}


def by_class(out: Path, method: str) -> dict[str, float | None]:
    """Intersection over union of every class of the test split, with the first seed."""
    folder = next(iter(sorted((out / "cells").glob(f"{method}-*s0"))), None)
    result = None if folder is None else read_json(folder / "result.json")
    if not result or "by_class" not in result:
        return {}
    return dict(zip(result["class_names"], result["by_class"]["IoU"], strict=True))


if __name__ == "__main__":
    main()
