"""What a second pool of OpenMP workers costs a run in the background.

    python tests/benchmarks/pools.py --result data/results/pools.json

Short runs in turns: alone, after the main thread has computed something (its workers stay), and
after it let them go again with ``release_workers``.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
from pathlib import Path

import torch

from pclora_lab.data.cache import DataCache
from pclora_lab.json_files import write_json
from pclora_lab.nn.runtime.openmp import release_workers
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow
from pclora_lab.training.loop import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()
    config = RunConfig(steps=args.steps, evaluations=1, layer_metrics=False, snapshots=0)
    cache = DataCache()
    in_background(config, cache)
    turns = []
    for _ in range(args.turns):
        release_workers()
        alone = in_background(config, cache)
        torch.randn(1000, 1000) @ torch.randn(1000, 1000)
        beside = in_background(config, cache)
        release_workers()
        released = in_background(config, cache)
        turns.append({"alone": alone, "beside": beside, "released": released})
    ratios = {n: [t[n] / t["alone"] for t in turns] for n in ("beside", "released")}
    report = {
        "command": " ".join(["python", "tests/benchmarks/pools.py", *sys.argv[1:]]),
        "hardware": f"{os.cpu_count()} CPU cores, torch {torch.__version__}",
        "turns": turns,
        "median_ratio": {name: statistics.median(values) for name, values in ratios.items()},
        "ratios": ratios,
    }
    write_json(args.result, report)
    print(json.dumps(report))


def in_background(config: RunConfig, cache: DataCache) -> float:
    """Seconds of the training itself, in a thread that ends with it."""
    seconds = []

    def work() -> None:
        with tempfile.TemporaryDirectory() as root:
            events = train(config, root, cache=cache)
            rows = [event.values["seconds"] for event in events if isinstance(event, LogRow)]
        seconds.append(rows[-1] - rows[0])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return seconds[0]


if __name__ == "__main__":
    main()
