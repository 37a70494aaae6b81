"""How do time and memory of a step grow with rank, depth, tokens and batch?

``python tests/benchmarks/growth.py --result data/results/growth.json --figure docs/growth.svg``
varies one of the four at a time around a DeiT-Tiny of six blocks, and takes steps of full
fine-tuning, of PC-LoRA while it fades and of PC-LoRA afterwards in turn. Times are divided by that
of full fine-tuning in the middle of the sweep, within the same turn; memory is what two steps take
beside what was there before, each in a process of its own.
"""

import argparse
import gc
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from step import ours, stepper

from pclora_lab.methods.pclora.model import set_progress
from pclora_lab.methods.pclora.removal import drop_base
from pclora_lab.nn.runtime.freed_memory import freed_memory_kept
from pclora_lab.training.device import memory_mb, peak_memory_mb, reset_peak_memory

KINDS = {"full": "full fine-tuning", "fading": "fading", "after": "after"}
COLORS = {"full": "tab:gray", "fading": "tab:blue", "after": "tab:green"}


@dataclass(frozen=True)
class Case:
    """The size of a step.

    Attributes:
        rank: of the adapters.
        depth: blocks of width 192.
        side: of an image in pixels; its patches are 16 wide.
        batch: images.
    """

    rank: int = 16
    depth: int = 6
    side: int = 96
    batch: int = 16

    @property
    def tokens(self) -> int:
        """Of one image, with the class token."""
        return (self.side // 16) ** 2 + 1


SWEEPS = {
    "rank": (4, 16, 32, 48, 64),
    "depth": (2, 4, 6, 9, 12),
    "side": (32, 64, 96, 128, 160),
    "batch": (4, 8, 16, 24, 32),
}


def step_of(case: Case, kind: str) -> Callable[[], None]:
    """One step of a kind."""
    torch.manual_seed(0)
    model = timm.create_model(
        "deit_tiny_patch16_224", img_size=case.side, depth=case.depth, num_classes=10
    ).eval()
    x = torch.randn(case.batch, 3, case.side, case.side)
    y = torch.arange(case.batch) % 10
    if kind == "full":
        pair = model, lambda x, y: F.cross_entropy(model(x), y)
    else:
        pair = ours(model, x[:2], case.rank, {"init": "zeros"})
    if kind == "after":
        set_progress(pair[0], 1.0)
        drop_base(pair[0], allow_unfaded=True)
    return stepper(*pair, x, y, torch.enable_grad)


def times(name: str, turns: int) -> dict[str, list[float]]:
    """By kind and value, divided by full fine-tuning's at the base case in the same turn."""
    values, base = SWEEPS[name], getattr(Case(), name)
    steps = {(k, v): step_of(replace(Case(), **{name: v}), k) for k in KINDS for v in values}
    ratios: dict[tuple[str, int], list[float]] = {key: [] for key in steps}
    for turn in range(turns + 1):
        seconds = {}
        for key, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[key] = time.perf_counter() - began
        for key in steps if turn else ():
            ratios[key].append(seconds[key] / seconds["full", base])
    return {k: [round(statistics.median(ratios[k, v]), 3) for v in values] for k in KINDS}


def megabytes_of(case: Case, kind: str) -> float:
    """Of two steps, beside what was there before them."""
    device, step = torch.device("cpu"), step_of(case, kind)
    gc.collect()
    before = memory_mb(device)
    reset_peak_memory(device)
    step()
    step()
    return peak_memory_mb(device) - before


def megabytes(name: str) -> dict[str, list[float]]:
    """By kind and value, each in a process of its own."""
    context, found = multiprocessing.get_context("spawn"), {}
    for kind in KINDS:
        found[kind] = []
        for value in SWEEPS[name]:
            with context.Pool(1) as pool:
                case = replace(Case(), **{name: value})
                found[kind].append(round(pool.apply(megabytes_of, (case, kind)), 1))
    return found


def figure_of(sweeps: dict[str, dict]) -> Figure:
    """Times above, memory below; a line of each kind."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(2, len(sweeps), sharey="row")
    for column, (name, sweep) in enumerate(sweeps.items()):
        for row, (what, label) in enumerate(
            [("times", "time ÷ full fine-tuning's"), ("megabytes", "memory of a step, MB")]
        ):
            axis = axes[row][column]
            for kind, text in KINDS.items():
                axis.plot(sweep["x"], sweep[what][kind], "o-", ms=3, color=COLORS[kind], label=text)
            axis.set_xlabel("tokens" if name == "side" else name)
            axis.grid(alpha=0.3)
            if column == 0:
                axis.set_ylabel(label)
    for row in axes:  # once all is drawn: the panels of a row share their axis
        row[0].set_ylim(bottom=0)
    axes[0][0].legend(fontsize=8)
    return figure


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--sweeps", nargs="+", default=list(SWEEPS), choices=SWEEPS)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    sweeps = {}
    for name in args.sweeps:
        cases = [replace(Case(), **{name: value}) for value in SWEEPS[name]]
        x = [case.tokens if name == "side" else getattr(case, name) for case in cases]
        with freed_memory_kept():
            measured = times(name, args.turns)
        sweeps[name] = {"x": x, "times": measured, "megabytes": megabytes(name)}
        print(name, json.dumps(sweeps[name]), file=sys.stderr, flush=True)
    hardware = f"{os.cpu_count()} cores, torch {torch.__version__}"
    command = "python tests/benchmarks/growth.py " + " ".join(sys.argv[1:])
    record = {"command": command, "hardware": hardware, "seed": 0, "sweeps": sweeps}
    if args.result:
        args.result.write_text(json.dumps(record, indent=1) + "\n")
    if args.figure:
        figure_of(sweeps).savefig(args.figure, metadata={"Date": None})


if __name__ == "__main__":
    main()
