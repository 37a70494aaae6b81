"""Does a planned curve show what the curve of thirty readings shows?

``python tests/benchmarks/curves.py --model local-dir:FOLDER --data FOLDER --img-size 64 --result
data/results/curves.json --figure docs/curves.svg`` trains each length twice with one seed: measured
as planned, and thirty times on 512 validation examples, which was the default before. Measuring
changes no weight, so both curves show the same training. The gap is that of the planned curve,
joined by straight lines, from each reading of the other.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow
from pclora_lab.training.loop import train

CURVES = {
    "accuracy": ("student as it is", "tab:blue"),
    "accuracy_if_base_removed": ("if the base were removed", "tab:orange"),
}
MEASURED = {"planned": {}, "30 × 512": {"evaluations": 30, "eval_images": 512}}

Curve = list[list[float]]


def curves_of(config: RunConfig, root: Path) -> dict[str, Curve]:
    """Step and accuracy of every reading, by curve."""
    rows = [event.values for event in train(config, root) if isinstance(event, LogRow)]
    rows = [row for row in rows if row["phase"] == "fade"]
    return {
        name: [[row["step"], row[name]] for row in rows if row.get(name) is not None]
        for name in CURVES
    }


def gap(planned: Curve, dense: Curve) -> dict[str, float]:
    """Mean and largest distance of the planned curve from each reading of the other, in points."""
    steps, values = np.array(dense).T
    apart = 100 * np.abs(np.interp(steps, *np.array(planned).T) - values)
    return {"mean": round(float(apart.mean()), 2), "largest": round(float(apart.max()), 2)}


def figure_of(found: dict[str, dict[str, dict[str, Curve]]]) -> Figure:
    """The two ways beside each other, a column for each length."""
    figure = Figure(figsize=(4.5 * len(found), 5.5), layout="constrained")
    axes = figure.subplots(2, len(found), sharey=True, squeeze=False)
    for column, (steps, ways) in enumerate(found.items()):
        for row, (way, curves) in enumerate(ways.items()):
            axis = axes[row][column]
            for name, points in curves.items():
                label, color = CURVES[name]
                x, y = np.array(points).T
                axis.plot(x, 100 * y, "o-", color=color, markersize=3, linewidth=1.2, label=label)
            axis.set(title=f"{steps} steps, {way}: {len(x)} points", xlabel="step")
            axis.grid(alpha=0.4)
        axes[0][0].set_ylabel("top-1 on validation images (%)")
        axes[1][0].set_ylabel("top-1 on validation images (%)")
    axes[0][0].legend(fontsize=8)
    return figure


def main() -> None:
    """Train, compare, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vit_digits")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--img-size", type=int)
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--teacher-steps", type=int, default=100)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    found: dict[str, dict[str, dict[str, Curve]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for steps in args.steps:
            base = {name: getattr(args, name) for name in ("model", "data", "img_size")}
            base |= {"steps": steps, "teacher_steps": args.teacher_steps, "device": "cpu"}
            found[str(steps)] = {
                way: curves_of(RunConfig(**base, **asked), Path(folder))
                for way, asked in MEASURED.items()
            }
    gaps = {
        steps: {name: gap(*(ways[way][name] for way in MEASURED)) for name in CURVES}
        for steps, ways in found.items()
    }
    print(json.dumps(gaps), file=sys.stderr)
    hardware = f"{os.cpu_count()} cores, torch {torch.__version__}"
    command = "python tests/benchmarks/curves.py " + " ".join(sys.argv[1:])
    record = {"command": command, "hardware": hardware, "seed": 0, "gaps": gaps, "curves": found}
    if args.result:
        args.result.write_text(json.dumps(record, indent=1) + "\n")
    if args.figure:
        figure_of(found).savefig(args.figure, metadata={"Date": None})


if __name__ == "__main__":
    main()
