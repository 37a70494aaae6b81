"""What does it cost that nothing of a run is lost?

``python tests/benchmarks/durability.py --result data/results/durability.json`` takes the default
run in turns *with* its folder (lock, status, history, checkpoints that reach the disk, checksums,
the hashes that a resume compares) and *without*: the same training, nothing written or hashed.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from pclora_lab.data.cache import DataCache
from pclora_lab.runs import execute
from pclora_lab.training import setup
from pclora_lab.training.config import RunConfig
from pclora_lab.training.identity.record import Identity
from pclora_lab.training.loop import train


def seconds(run: object) -> float:
    """Of all its events."""
    began = time.perf_counter()
    for _ in run:
        pass
    return time.perf_counter() - began


def main() -> None:
    """Run in turns, write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    config, cache = RunConfig(steps=args.steps, device="cpu"), DataCache()
    hashed, none = (
        setup.identity_of,
        Identity(data="", preprocessing="", weights="", architecture=""),
    )
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for turn, first in zip(range(args.turns + 1), itertools.cycle((True, False)), strict=False):
            took = {}
            for with_folder in (first, not first):
                setup.identity_of = hashed if with_folder else lambda *facts: none
                run = execute if with_folder else train
                took[with_folder] = seconds(run(config, Path(folder), cache=cache))
            if turn:  # the first turn also reads data and model
                ratios.append(took[True] / took[False])
                print(f"{took[True]:.2f} s / {took[False]:.2f} s", file=sys.stderr)
    record = {
        "command": f"python tests/benchmarks/durability.py --turns {args.turns}",
        "hardware": f"{os.cpu_count()} {platform.machine()} cores, torch {torch.__version__}",
        "steps": args.steps,
        "ratio": {
            "median": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
        },
    }
    print(json.dumps(record, indent=1))
    if args.result:
        args.result.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
