"""How long a forward pass takes."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from pclora_lab.nn.forward import Inputs, call_model

__all__ = ["latency_ms", "median_ms", "timed_ms"]


def timed_ms(function: Callable[[], object], device: torch.device | None = None) -> float:
    """Time of one call in milliseconds, up to the end of what it started on the device."""
    _finish(device)
    began = time.perf_counter()
    function()
    _finish(device)
    return 1000 * (time.perf_counter() - began)


def median_ms(
    function: Callable[[], object], repeats: int = 7, device: torch.device | None = None
) -> float:
    """Median time of a call in milliseconds, after one to warm up.

    Args:
        function: what is timed.
        repeats: how often.
        device: where it computes; None where it returns only when it is done.
    """
    times = [timed_ms(function, device) for _ in range(repeats + 1)]
    return statistics.median(times[1:])


def latency_ms(model: nn.Module, inputs: Inputs, repeats: int = 5) -> float:
    """Median time of one forward pass, in milliseconds, after one to warm up.

    Args:
        model: in eval mode.
        inputs: one batch, on the model's device.
        repeats: how often it is timed.
    """
    device = next(model.parameters()).device
    with torch.inference_mode():
        return median_ms(lambda: call_model(model, inputs), repeats, device)


def _finish(device: torch.device | None) -> None:
    """Wait for what an accelerator still computes."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device is not None and device.type == "mps":
        torch.mps.synchronize()
