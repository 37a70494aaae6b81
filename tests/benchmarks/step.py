"""What does a step of PC-LoRA cost beside full fine-tuning?

``python tests/benchmarks/step.py --result data/results/step.json`` takes training steps of several
kinds in turn and divides each one's median time by that of full fine-tuning in the same turn, on
random images and weights: a step's time does not depend on what they show. *naive* is two copies of
the model and PC-LoRA's formula as it stands in the paper; *whole run* is 60 % fading, 40 % after.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import DistillationTerms
from pclora_lab.methods.pclora.model import get_pclora_model, pclora_targets, set_progress
from pclora_lab.methods.pclora.removal import drop_base
from pclora_lab.nn.runtime.freed_memory import freed_memory_kept
from pclora_lab.nn.runtime.plain_attention import plain_attention

MODELS = {
    "deit_tiny": ("deit_tiny_patch16_224", 64, 64, 16),
    "vit_small": ("vit_small_patch16_224", 224, 8, 32),
}
FADE = 0.6


class NaiveLayer(nn.Module):
    """``λ(Wx + b) + B(Ax) + C`` as it is written."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base, self.lam = base.requires_grad_(False), 0.5
        self.A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))
        self.C = nn.Parameter(torch.zeros(base.out_features))

    def forward(self, x: Tensor) -> Tensor:
        """The faded base plus the adapter."""
        return self.lam * self.base(x) + F.linear(F.linear(x, self.A), self.B, self.C)


def naive(model: nn.Module, rank: int, targets: tuple[str, ...]) -> tuple:
    """A student and its loss as a reader of the paper would write it: two models, hooks, MSE."""
    teacher, student = model, deepcopy(model).requires_grad_(False)
    for name in targets:
        parent, _, last = name.rpartition(".")
        setattr(student.get_submodule(parent), last, NaiveLayer(student.get_submodule(name), rank))
    student.head.requires_grad_(True)
    kept: tuple[dict, dict] = ({}, {})
    for outputs, net in zip(kept, (teacher, student), strict=True):
        for name in targets:
            net.get_submodule(name).register_forward_hook(
                lambda m, a, y, name=name, outputs=outputs: outputs.__setitem__(name, y)
            )

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            teacher(x)
        task = F.cross_entropy(student(x), y)
        gaps = [F.mse_loss(kept[1][n], kept[0][n]) for n in targets]
        return 0.2 * task + 0.8 * torch.stack(gaps).mean()

    return student, loss


def stepper(
    student: nn.Module, loss: Callable, x: Tensor, y: Tensor, in_precision: Callable
) -> Callable[[], None]:
    """One step of AdamW."""
    student.train()
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def step() -> None:
        with in_precision():
            terms = loss(x, y)
        terms.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


STUDENTS = {
    "zeros": {"init": "zeros"},
    "activation_svd": {"init": "activation_svd"},
    "zeros, taps on blocks": {"init": "zeros", "taps": "blocks"},
    "after": {"init": "zeros"},
}


@contextmanager
def bfloat16() -> Iterator[None]:
    """As a run computes in it on a CPU."""
    with torch.autocast("cpu", torch.bfloat16), plain_attention():
        yield


PRECISIONS = {"float32": nullcontext, "bfloat16": bfloat16}


def steps_of(name: str, precision: str = "float32") -> dict[str, Callable[[], None]]:
    """A step of every kind for a model."""
    architecture, size, batch, rank = MODELS[name]
    torch.manual_seed(0)
    model = timm.create_model(architecture, img_size=size, num_classes=10).eval()
    x, y = torch.randn(batch, 3, size, size), torch.randint(10, (batch,))
    step = partial(stepper, x=x, y=y, in_precision=PRECISIONS[precision])
    full = deepcopy(model)
    steps = {"full": step(full, lambda x, y: F.cross_entropy(full(x), y))}
    for label, options in STUDENTS.items():
        student, loss = ours(deepcopy(model), x[:8], rank, options)
        if label == "after":
            set_progress(student, 1.0)
            drop_base(student, allow_unfaded=True)
        steps[label] = step(student, loss)
    steps["naive"] = step(*naive(model, rank, pclora_targets(student)))
    return steps


def ours(model: nn.Module, calibration: Tensor, rank: int, options: dict) -> tuple:
    """A student of the package at λ > 0, and its loss."""
    config = PCLoRAConfig(rank=rank, **options)
    student = get_pclora_model(model, config, calibration=[calibration])
    set_progress(student, 0.2)
    terms = DistillationTerms(student, model)
    return student, lambda x, y: terms(x, y, 0.2)["loss"]


def measure(steps: dict[str, Callable[[], None]], turns: int) -> dict[str, float]:
    """Median over the turns of each kind's time, divided by full fine-tuning's in that turn."""
    ratios: dict[str, list[float]] = {label: [] for label in steps}
    for turn in range(turns + 2):
        seconds = {}
        for label, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[label] = time.perf_counter() - began
        if turn >= 2:
            for label in steps:
                ratios[label].append(seconds[label] / seconds["full"])
    found = {label: statistics.median(values) for label, values in ratios.items()}
    for start in ("zeros", "activation_svd"):
        found[f"whole run, {start}"] = FADE * found[start] + (1 - FADE) * found["after"]
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    parser.add_argument("--give-back", action="store_true", help="leave glibc as it is")
    args = parser.parse_args()
    rows = {}
    for name in args.models:
        with nullcontext() if args.give_back else freed_memory_kept():
            rows[name] = measure(steps_of(name, args.precision), args.turns)
        print(name, {k: round(v, 3) for k, v in rows[name].items()}, file=sys.stderr)
    hardware = f"{os.cpu_count()} {platform.machine()} cores, torch {torch.__version__}"
    if args.result:
        args.result.write_text(json.dumps({"hardware": hardware, "ratios": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
