"""A split as a model takes it: batches of inputs and labels, whatever the inputs are."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

__all__ = ["Batches", "Inputs", "first_rows", "real_tokens", "to_device"]

Inputs = Tensor | Mapping[str, Tensor]


def to_device(inputs: Inputs, device: torch.device | str | None) -> Inputs:
    """A tensor or a mapping of tensors on a device.

    Example:
        >>> to_device({"input_ids": torch.zeros(1, 2)}, "meta")["input_ids"].is_meta
        True
    """
    if isinstance(inputs, Tensor):
        return inputs.to(device, non_blocking=True)
    return {name: value.to(device, non_blocking=True) for name, value in inputs.items()}


def first_rows(inputs: Inputs, count: int) -> Inputs:
    """The first examples of a batch.

    Example:
        >>> first_rows(torch.zeros(8, 3), 2).shape
        torch.Size([2, 3])
    """
    if isinstance(inputs, Tensor):
        return inputs[:count]
    return {name: value[:count] for name, value in inputs.items()}


def real_tokens(inputs: Inputs) -> Tensor | None:
    """Where a batch of texts holds words and not padding, ``(batch, tokens)`` bool; else None.

    A model of images and texts has tokens of two kinds, so one mask can't speak for both.

    Example:
        >>> real_tokens({"input_ids": torch.ones(1, 2), "attention_mask": torch.tensor([[1, 0]])})
        tensor([[ True, False]])
    """
    if isinstance(inputs, Tensor) or "pixel_values" in inputs:
        return None
    mask = inputs.get("attention_mask")
    return None if mask is None else mask.bool()


class Batches:
    """One split; a subclass turns row numbers into inputs.

    Args:
        labels: class numbers ``(examples,)``.
    """

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, rows: Tensor, device: torch.device | str | None = None) -> Inputs:
        """What the model takes for these rows, on the device."""
        raise NotImplementedError

    def batch(
        self, rows: Tensor, device: torch.device | str | None = None
    ) -> tuple[Inputs, Tensor]:
        """Inputs and labels ``(batch,)`` of these rows, on the device."""
        labels = self.labels[rows]
        return self.inputs(rows, device), labels.to(device, non_blocking=True)

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Row numbers in batches without end, a new permutation for every epoch."""
        batch_size = min(batch_size, len(self))
        while True:
            order = torch.randperm(len(self), generator=generator)
            for start in range(0, len(self) - batch_size + 1, batch_size):
                yield order[start : start + batch_size]

    def in_order(self, batch_size: int, limit: int | None = None) -> Iterator[Tensor]:
        """Row numbers over the split once; with a limit, evenly spread examples only."""
        yield from self._rows(limit).split(batch_size)

    def for_scoring(self, batch_size: int, limit: int | None = None) -> Iterator[Tensor]:
        """The rows of :meth:`in_order` in whatever order is computed fastest."""
        yield from self.in_order(batch_size, limit)

    def _rows(self, limit: int | None) -> Tensor:
        count = len(self) if limit is None else min(limit, len(self))
        return torch.linspace(0, len(self) - 1, count).round().long()
