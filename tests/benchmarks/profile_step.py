"""Where does the time of a step go?

``python tests/benchmarks/profile_step.py --result data/results/profile_step.json`` runs torch's
profiler over some steps of each kind and adds up the time that operators take themselves, by what
they are for, as a share of a whole step of full fine-tuning. Profiling slows small operators down:
compare the columns, and take a step's time from ``step.py``.
"""

import argparse
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from step import MODELS, steps_of
from torch.profiler import ProfilerActivity, profile

from pclora_lab.nn.runtime.freed_memory import freed_memory_kept

KINDS = ("full", "zeros", "activation_svd", "after", "naive")
# By the beginning of an operator's name; the first that fits counts.
GROUPS = {
    "products": ("mm", "addmm", "bmm", "baddbmm", "addmv", "mv", "convolution", "mkldnn_conv"),
    "attention": ("_scaled_dot_product", "_softmax"),
    "norms and activations": ("native_layer_norm", "gelu"),
    "optimizer and clipping": ("_foreach", "_fused_adam", "_fused_adamw", "linalg_vector_norm"),
    "comparing features": ("mse_loss", "sub", "square", "pow", "dot", "vdot", "_mse"),
    "copies": ("copy_", "clone", "cat", "fill_", "zero_", "_to_copy"),
    "sums and scaling": ("add", "mul", "div", "sum", "mean", "lerp", "neg"),
}


def group_of(operator: str) -> str:
    """What an operator is for.

    Example:
        >>> group_of("aten::addmm"), group_of("aten::add_"), group_of("MyFunctionBackward")
        ('products', 'sums and scaling', 'everything else')
    """
    name = operator.removeprefix("aten::")
    exact = (group for group, names in GROUPS.items() if name.rstrip("_") in names)
    begins = (g for g, names in GROUPS.items() if name.startswith(tuple(n for n in names)))
    return next(exact, None) or next(begins, "everything else")


def milliseconds(step: Callable[[], None], count: int) -> Counter[str]:
    """Of a step, by group, in the mean over ``count`` of them."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as run:
        for _ in range(count):
            step()
    found: Counter[str] = Counter()
    for event in run.key_averages():
        found[group_of(event.key)] += event.self_cpu_time_total / 1000 / count
    return found


def shares(name: str, count: int) -> dict[str, dict[str, float]]:
    """By kind and group, divided by the whole of a step of full fine-tuning."""
    steps = steps_of(name, only=KINDS)
    with freed_memory_kept():
        found = {kind: milliseconds(step, count) for kind, step in steps.items()}
    whole = found["full"].total()
    return {
        kind: {
            **{group: round(times[group] / whole, 3) for group in (*GROUPS, "everything else")},
            "whole": round(times.total() / whole, 3),
        }
        for kind, times in found.items()
    }


def main() -> None:
    """Profile, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["deit_tiny", "vit_small"], choices=MODELS)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    found = {name: shares(name, args.steps) for name in args.models}
    print(json.dumps(found, indent=1), file=sys.stderr)
    hardware = f"{os.cpu_count()} {platform.machine()} cores, torch {torch.__version__}"
    command = "python tests/benchmarks/profile_step.py " + " ".join(sys.argv[1:])
    if args.result:
        record = {"command": command, "hardware": hardware, "seed": 0, "shares": found}
        args.result.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
