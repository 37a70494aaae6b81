"""What does a step of PC-LoRA cost beside full fine-tuning?

``python tests/benchmarks/step.py --result data/results/step.json`` takes training steps of several
kinds in turn and divides each one's median time by that of full fine-tuning in the same turn, on
random images and weights: a step's time does not depend on what they show. *naive* is two copies of
the model and PC-LoRA's formula as it stands in the paper; *lora* is peft's, which compresses
nothing and needs no teacher; *whole run* is 60% fading, 40% after.
"""

import argparse
import gc
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterator
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
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import drop_base
from pclora_lab.nn.runtime.freed_memory import freed_memory_kept
from pclora_lab.nn.runtime.plain_attention import plain_attention
from pclora_lab.nn.runtime.recompute import recomputed
from pclora_lab.nn.surgery import find_targets, transformer_blocks
from pclora_lab.training.device import memory_mb, peak_memory_mb, reset_peak_memory

MODELS = {
    "deit_tiny": ("deit_tiny_patch16_224", 64, 64, 16),
    "vit_small": ("vit_small_patch16_224", 224, 8, 32),
    "vit_base": ("vit_base_patch16_224", 224, 8, 32),
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
    student.to(next(model.parameters()).device)
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
        gaps = [F.mse_loss(kept[1].pop(n), kept[0].pop(n)) for n in targets]
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
    "zeros, recomputed": {"init": "zeros"},
    "after": {"init": "zeros"},
}
KINDS = ("full", *STUDENTS, "naive", "lora (peft)")


@contextmanager
def bfloat16() -> Iterator[None]:
    """As a run computes in it on a CPU."""
    with torch.autocast("cpu", torch.bfloat16), plain_attention():
        yield


def autocast_on(device: torch.device, precision: str) -> torch.autocast:
    """As a run computes on a GPU."""
    is_half = precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_half)


PRECISIONS = {"float32": nullcontext, "bfloat16": bfloat16}


def steps_of(
    name: str,
    precision: str = "float32",
    only: Collection[str] = KINDS,
    device: torch.device | str = "cpu",
) -> dict[str, Callable[[], None]]:
    """A step of every kind for a model."""
    architecture, size, batch, rank = MODELS[name]
    torch.manual_seed(0)
    model = timm.create_model(architecture, img_size=size, num_classes=10).eval().to(device)
    x, y = torch.randn(batch, 3, size, size).to(device), torch.randint(10, (batch,)).to(device)
    in_precision = PRECISIONS[precision] if x.is_cpu else partial(autocast_on, x.device, precision)
    steps = {}
    for kind in only:
        own = deepcopy(model) if len(only) > 1 else model
        if kind == "full":
            pair = own, lambda x, y, own=own: F.cross_entropy(own(x), y)
        elif kind == "lora (peft)":
            pair = of_peft(own, rank, find_targets(own))
        elif kind == "naive":
            pair = naive(own, rank, tuple(find_targets(own)))
        else:
            pair = ours(own, x[:8], rank, STUDENTS[kind])
        if kind == "after":
            set_progress(pair[0], 1.0)
            drop_base(pair[0], allow_unfaded=True)
        if kind.endswith("recomputed"):
            pair = pair[0], recomputing(*pair)
        steps[kind] = stepper(*pair, x, y, in_precision)
    return steps


def of_peft(model: nn.Module, rank: int, targets: Collection[str]) -> tuple:
    """LoRA as peft has it: no teacher, and the base stays."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, target_modules=list(targets), modules_to_save=["head"])
    student = get_peft_model(model, config)
    return student, lambda x, y: F.cross_entropy(student(x), y)


def ours(model: nn.Module, calibration: Tensor, rank: int, options: dict) -> tuple:
    """A student of the package at λ > 0, and its loss."""
    config = PCLoRAConfig(rank=rank, **options)
    student = get_pclora_model(model, config, calibration=[calibration])
    set_progress(student, 0.2)
    terms = DistillationTerms(student, model)
    return student, lambda x, y: terms(x, y, 0.2)["loss"]


def recomputing(student: nn.Module, loss: Callable) -> Callable[[Tensor, Tensor], Tensor]:
    """The same loss, with blocks that run again in the backward pass."""
    blocks = transformer_blocks(student)

    def again(x: Tensor, y: Tensor) -> Tensor:
        with recomputed(blocks):
            return loss(x, y)

    return again


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


def memory_of(name: str, kind: str, precision: str) -> float:
    """Megabytes that two steps take beside what was there before them."""
    step = steps_of(name, precision, [kind])[kind]
    gc.collect()
    device = torch.device("cpu")
    before = memory_mb(device)
    reset_peak_memory(device)
    step()
    step()
    return peak_memory_mb(device) - before


def memory(name: str, precision: str) -> dict[str, float]:
    """Of every kind, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    found = {}
    for kind in KINDS:
        with context.Pool(1) as pool:
            found[kind] = pool.apply(memory_of, (name, kind, precision))
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["deit_tiny", "vit_small"], choices=MODELS)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    parser.add_argument("--memory", action="store_true", help="measure the memory of a step too")
    parser.add_argument("--give-back", action="store_true", help="leave glibc as it is")
    args = parser.parse_args()
    rows, megabytes = {}, {}
    if args.memory:
        for name in args.models:
            megabytes[name] = memory(name, args.precision)
            told = {k: round(v) for k, v in megabytes[name].items()}
            print(name, "MB", told, file=sys.stderr)
    for name in args.models if args.turns else ():
        with nullcontext() if args.give_back else freed_memory_kept():
            rows[name] = measure(steps_of(name, args.precision), args.turns)
        print(name, {k: round(v, 3) for k, v in rows[name].items()}, file=sys.stderr)
    hardware = f"{os.cpu_count()} {platform.machine()} cores, torch {torch.__version__}"
    command = "python tests/benchmarks/step.py " + " ".join(sys.argv[1:])
    record = {"command": command, "hardware": hardware, "ratios": rows, "megabytes": megabytes}
    if args.result:
        args.result.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
