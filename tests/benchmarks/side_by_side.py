"""What two workers gain over one process, on a grid of eight runs.

    python tests/benchmarks/side_by_side.py --result data/results/side_by_side.json

In turns, on a machine that does nothing else: one process with one thread, two workers of one
thread each, and one process with two threads, as torch takes by default on two cores. Each is a
process of its own; the time is that of the whole comparison, with the start of its workers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from pclora_lab.json_files import write_json
from pclora_lab.machine import processor
from pclora_lab.runs.comparison import Comparison
from pclora_lab.training.config import RunConfig

MEASURED = {"seconds", "peak_memory_mb", "latency_ms_before", "latency_ms_after"}
# How many workers, and how many threads in a process that runs all by itself.
WAYS = {"one_thread": (1, 1), "two_workers": (2, 1), "two_threads": (1, 2)}
GRID = {"methods": ("pclora", "lora"), "budgets": (0.1, 0.2), "seeds": (0, 1), "lrs": (5e-3,)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--way", choices=list(WAYS), help="run this one, and print what came out")
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(*WAYS[args.way], args.steps)))
        return
    turns: list[dict[str, float]] = []
    tables: dict[str, list] = {}
    for number in range(args.turns):
        turns.append({})
        names = list(WAYS)
        for name in names[number % 3 :] + names[: number % 3]:
            measured = in_a_process(name, args.steps)
            turns[-1][name] = measured["seconds"]
            rows = tables.setdefault(name, measured["rows"])
            if rows != measured["rows"]:
                raise RuntimeError(f"{name} gives another table the second time")
        print(turns[-1], file=sys.stderr)
    over = {name: [turn["two_workers"] / turn[name] for turn in turns] for name in WAYS}
    report = {
        "command": " ".join(["python", "tests/benchmarks/side_by_side.py", *sys.argv[1:]]),
        "seed": GRID["seeds"],
        "hardware": f"{processor()}, torch {torch.__version__}",
        "grid": {**GRID, "steps": args.steps},
        "seconds": turns,
        "two_workers_over": {n: v for n, v in over.items() if n != "two_workers"},
        "median": {n: statistics.median(v) for n, v in over.items() if n != "two_workers"},
        "same_table_as_one_thread": tables["two_workers"] == tables["one_thread"],
    }
    if args.result:
        write_json(args.result, report)
    print(json.dumps(report))


def in_a_process(way: str, steps: int) -> dict:
    """One way in a process that nothing was computed in before."""
    threads = str(WAYS[way][1])
    done = subprocess.run(
        [sys.executable, __file__, "--way", way, "--steps", str(steps)],
        env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(workers: int, threads: int, steps: int) -> dict:
    """Seconds of the grid, and its rows without what is measured anew each time."""
    torch.set_num_threads(threads)
    base = RunConfig(steps=steps, evaluations=2, eval_images=100, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(base, **GRID, out=folder, workers=workers)
        began = time.perf_counter()
        for _ in comparison.run():
            pass
        seconds = time.perf_counter() - began
        rows = [{k: v for k, v in row.items() if k not in MEASURED} for row in comparison.rows()]
    if failed := [row for row in rows if row["error"]]:
        raise RuntimeError(f"these have failed: {failed}")
    return {"seconds": seconds, "rows": rows}


if __name__ == "__main__":
    main()
