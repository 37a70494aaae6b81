"""What autocast does to an input, for functions of our own that it does not see."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["autocast_off", "in_autocast"]


def in_autocast(x: Tensor) -> Tensor:
    """A tensor in the precision that autocast would give the input of a linear layer.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     in_autocast(torch.ones(2)).dtype, in_autocast(torch.ones(2).double()).dtype
        (torch.bfloat16, torch.float64)
    """
    kind = x.device.type
    if kind == "meta" or x.dtype == torch.float64 or not torch.is_autocast_enabled(kind):
        return x
    return x.to(torch.get_autocast_dtype(kind))


def autocast_off(device: torch.device) -> AbstractContextManager:
    """Autocast switched off, on every device that has it."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
