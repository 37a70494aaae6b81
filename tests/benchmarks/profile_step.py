"""Where does the time of a step go, and where that of a pass without gradients?

``python tests/benchmarks/profile_step.py --result data/results/profile_step.json`` runs torch's
profiler over some steps of each kind and adds up the time that operators take themselves, by what
they are for, as a share of a whole step of full fine-tuning; and over passes of one image through
ViT-B, dense and at rank 32, as a share of the dense pass in the same precision. Profiling slows
small operators down: compare the columns, and take times from ``step.py`` and ``inference.py``.
"""

import argparse
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from inference import models_of
from step import MODELS, steps_of
from torch import nn
from torch.profiler import ProfilerActivity, profile

from pclora_lab.nn.runtime.freed_memory import freed_memory_kept
from pclora_lab.nn.runtime.plain_attention import plain_attention

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
    return {kind: divided(times, found["full"].total()) for kind, times in found.items()}


def divided(times: Counter[str], whole: float) -> dict[str, float]:
    """Each group's share of something whole, and their sum."""
    shares = {group: round(times[group] / whole, 3) for group in (*GROUPS, "everything else")}
    return {**shares, "whole": round(times.total() / whole, 3)}


def passes(count: int) -> dict[str, dict[str, float]]:
    """Of ViT-B and one image, by precision and model, divided by the dense model's pass."""
    models, found = models_of(rank=32), {}
    for dtype in (torch.float32, torch.bfloat16):
        x, precision = torch.randn(1, 3, 224, 224, dtype=dtype), str(dtype).partition(".")[2]
        plain = plain_attention() if dtype == torch.bfloat16 else nullcontext()
        with torch.inference_mode(), plain:
            times = {name: milliseconds(_pass(m.to(dtype), x), count) for name, m in models.items()}
        for name, of_model in times.items():
            found[f"{precision}, {name}"] = divided(of_model, times["dense"].total())
    return found


def _pass(model: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    return lambda: (model(x), None)[1]


def main() -> None:
    """Profile, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["deit_tiny", "vit_small"], choices=MODELS)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    found = {name: shares(name, args.steps) for name in args.models}
    found["vit_base, a pass"] = passes(4 * args.steps)
    print(json.dumps(found, indent=1), file=sys.stderr)
    hardware = f"{os.cpu_count()} {platform.machine()} cores, torch {torch.__version__}"
    command = "python tests/benchmarks/profile_step.py " + " ".join(sys.argv[1:])
    if args.result:
        record = {"command": command, "hardware": hardware, "seed": 0, "shares": found}
        args.result.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
