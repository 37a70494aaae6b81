"""What a GPU makes of a training: one command of eight minutes at most.

``python tests/benchmarks/gpu.py --result data/results/gpu.json`` measures ViT-B in bfloat16: steps
and memory of PC-LoRA beside full fine-tuning, peft's LoRA and two naive copies; the same compiled;
how fast pictures arrive; inference; a step of SNELLA. Every part stands by itself: one that fails
or finds no time left says so, and the others are measured.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from step import MODELS, autocast_on, steps_of
from torch import nn

from pclora_lab.data.feeding.ahead import fed
from pclora_lab.data.images import Preprocessing
from pclora_lab.data.splits import Split
from pclora_lab.methods.registry import make_method, method_class
from pclora_lab.methods.svd import SVD, SVDConfig
from pclora_lab.nn.latency import timed_ms
from pclora_lab.training.device import peak_memory_mb, reset_peak_memory

SMALL = ("timm_test_vit", "test_vit.r160_in1k", 160, 2, 4)
"""For a machine that only pretends: name, architecture, side, batch, rank."""


def medians(calls: dict[str, Callable[[], Any]], device: torch.device, turns: int) -> dict:
    """Milliseconds of each call, in turns, after two to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 2):
        for name, call in calls.items():
            ms = timed_ms(call, device)
            if turn >= 2:
                times[name].append(ms)
    return {name: statistics.median(found) for name, found in times.items()}


def training(model: str, device: torch.device, turns: int) -> dict[str, Any]:
    """Time of a step and most memory in it, each kind beside full fine-tuning."""
    ms, megabytes = {}, {}
    steps = steps_of(model, "bfloat16", device=device)
    ms = medians(steps, device, turns)
    del steps
    for kind in ms:
        alone = steps_of(model, "bfloat16", [kind], device)[kind]
        alone()
        reset_peak_memory(device)
        alone()
        megabytes[kind] = peak_memory_mb(device)
        del alone
    return {
        "ms": ms,
        "ms by full's": {kind: value / ms["full"] for kind, value in ms.items()},
        "megabytes": megabytes,
        "megabytes by naive's": {k: v / megabytes["naive"] for k, v in megabytes.items()},
    }


def compiled(model: str, device: torch.device, turns: int) -> dict[str, Any]:
    """A forward pass of the dense model eager, compiled, and as a CUDA graph."""
    architecture, size, batch, _ = MODELS[model]
    net = timm.create_model(architecture, img_size=size, num_classes=10).eval().to(device)
    x = torch.randn(batch, 3, size, size).to(device)
    runs = {
        "eager": net,
        "compiled": torch.compile(net),
        "CUDA graph": torch.compile(net, mode="reduce-overhead"),
    }
    with torch.no_grad(), autocast_on(device, "bfloat16"):
        calls = {name: lambda run=run: run(x) for name, run in runs.items()}
        return {"ms": medians(calls, device, turns)}


def feeding(model: str, device: torch.device, turns: int) -> dict[str, Any]:
    """Pictures per second: decoded when they are asked for, decoded ahead, and known."""
    architecture, size, batch, _ = MODELS[model]
    net = timm.create_model(architecture, img_size=size, num_classes=10).eval().to(device)
    draws = np.random.default_rng(0)
    pictures = [
        Image.fromarray(draws.integers(0, 256, (256, 256, 3), dtype=np.uint8))
        for _ in range(batch * turns)
    ]
    split = Split(pictures, np.zeros(len(pictures), dtype=np.int64))
    found = {}

    def go(batches: Any, ahead: bool) -> float:
        order = batches.in_order(batch)
        feed = fed(batches, order, device) if ahead else (batches.batch(i, device) for i in order)

        def all_of_it() -> None:
            with torch.no_grad(), autocast_on(device, "bfloat16"):
                for inputs, _ in feed:
                    net(inputs)

        return 1000 * len(pictures) / timed_ms(all_of_it, device)

    preprocessing = Preprocessing.of(net, size)
    found["asked for"] = go(preprocessing.batches(split), ahead=False)
    kept = preprocessing.batches(split)
    found["ahead"] = go(kept, ahead=True)
    found["known"] = go(kept, ahead=True)
    return {"pictures per second": found}


def inference(model: str, device: torch.device, turns: int) -> dict[str, Any]:
    """Dense and at the model's rank, in both precisions."""
    architecture, size, _, rank = MODELS[model]
    dense = timm.create_model(architecture, img_size=size, num_classes=10).eval()
    small = SVD(SVDConfig(rank=rank)).apply(dense).eval().to(device)
    dense.to(device)
    found = {}
    for precision in ("float32", "bfloat16"):
        for batch in (1, 64):
            x = torch.randn(batch, 3, size, size).to(device)
            nets = {"dense": dense, "small": small}
            with torch.no_grad(), autocast_on(device, precision):
                calls = {name: lambda net=net, x=x: net(x) for name, net in nets.items()}
                found[f"{precision}, batch {batch}"] = medians(calls, device, turns)
    return {"ms": found}


def snella(model: str, device: torch.device, turns: int) -> dict[str, Any]:
    """A forward and a backward pass beside the dense model's."""
    architecture, size, batch, _ = MODELS[model]
    dense = timm.create_model(architecture, img_size=size, num_classes=10)
    config = method_class("snella").Config()
    student = make_method(config).apply(dense).to(device).train()
    dense.to(device)
    x = torch.randn(batch, 3, size, size).to(device)

    def both(net: nn.Module) -> Callable[[], None]:
        def call() -> None:
            with autocast_on(device, "bfloat16"):
                loss = net(x).float().square().mean()
            loss.backward()
            net.zero_grad(set_to_none=True)

        return call

    return {"ms": medians({"full": both(dense), "snella": both(student)}, device, turns)}


PARTS = {
    "training": training, "inference": inference, "feeding": feeding, "snella": snella,
    "compiled": compiled,
}  # fmt: skip


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure part after part, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vit_base", choices=[*MODELS, SMALL[0]])
    parser.add_argument("--batch", type=int, help="None: the model's own in step.py")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=450.0, help="no part begins after that")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args(argv)
    MODELS[SMALL[0]] = SMALL[1:]
    if args.batch:
        architecture, size, _, rank = MODELS[args.model]
        MODELS[args.model] = architecture, size, args.batch, rank
    device, began = torch.device(args.device), time.monotonic()
    record: dict[str, Any] = {
        "command": "python tests/benchmarks/gpu.py " + " ".join(argv or sys.argv[1:]),
        "hardware": f"{_name(device)}, torch {torch.__version__}",
    }
    for name in args.parts:
        if time.monotonic() - began > args.seconds:
            record[name] = "no time was left"
            continue
        try:
            record[name] = PARTS[name](args.model, device, args.turns)
        except Exception as error:  # noqa: BLE001 - the other parts can still be measured
            record[name] = f"{type(error).__name__}: {error}"
        print(name, record[name], file=sys.stderr, flush=True)
    if args.result:
        args.result.write_text(json.dumps(record, indent=1) + "\n")
    return record


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


if __name__ == "__main__":
    main()
