"""How long PELA takes to factorize DeiT-B: 48 layers, two threads, untrained weights.

CPU-seconds are those of the process, all threads together. The fastest of three is reported, since
other work on the machine only ever adds to it.

    python tests/benchmarks/pela_factorize.py --result data/results/pela_factorize.json
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import timm
import torch
from torch import nn

from pclora_lab.json_files import write_json
from pclora_lab.methods.pela.model import factorize_model


def seconds(model: nn.Module) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    factorize_model(model, ratio=2.0)
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = timm.create_model("deit_base_patch16_224", pretrained=False)
    runs = [seconds(model) for _ in range(3)]
    report = {
        "command": " ".join(["python", "tests/benchmarks/pela_factorize.py", *sys.argv[1:]]),
        "hardware": f"{os.cpu_count()} CPU cores, {args.threads} threads",
        "runs": runs,
        "fastest": min(runs, key=lambda run: run["cpu_s"]),
    }
    if args.result:
        write_json(args.result, report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
