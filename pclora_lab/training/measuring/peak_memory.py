"""The most memory that a training takes, without what is measured in between."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pclora_lab.training.device import peak_memory_mb, reset_peak_memory

__all__ = ["PeakMemory"]


class PeakMemory:
    """Most memory held by a training; passes of an evaluation may take more, and do not count.

    Args:
        device: that it is trained on.

    Example:
        >>> peak = PeakMemory(torch.device("cpu"))
        >>> with peak.left_out():
        ...     _ = torch.zeros(10**6).sum()
        >>> peak.megabytes > 0
        True
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._before = device, 0.0

    @property
    def megabytes(self) -> float:
        """So far."""
        return max(self._before, peak_memory_mb(self._device))

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """What is held in here, and not afterwards, is not the training's."""
        self._before = self.megabytes
        try:
            yield
        finally:
            reset_peak_memory(self._device)
