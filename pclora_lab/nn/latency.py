"""How long a forward pass takes."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pclora_lab.nn.forward import Inputs, call_model

__all__ = ["latency_ms", "median_ms"]


def _pass_ms(model: nn.Module, inputs: Inputs) -> float:
    device = next(model.parameters()).device
    _finish(device)
    began = time.perf_counter()
    call_model(model, inputs)
    _finish(device)
    return 1000 * (time.perf_counter() - began)


def _finish(device: torch.device) -> None:
    """Wait for what an accelerator still computes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def latency_ms(model: nn.Module, inputs: Inputs, repeats: int = 5) -> float:
    """Median time of one forward pass, in milliseconds, after one to warm up.

    Args:
        model: in eval mode.
        inputs: one batch, on the model's device.
        repeats: how often it is timed.
    """
    times, device = [], next(model.parameters()).device
    with torch.inference_mode():
        for _ in range(repeats + 1):
            _synchronize(device)
            began = time.perf_counter()
            call_model(model, inputs)
            _synchronize(device)
            times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def median_ms(function: Callable[[], Any], repeats: int = 7) -> float:
    """Median time of a call in milliseconds, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])


def torch_ms(model: nn.Module, inputs: Inputs) -> float:
    """Median time of a forward pass on the CPU."""
    with torch.inference_mode():
        return median_ms(lambda: call_model(model, inputs))
