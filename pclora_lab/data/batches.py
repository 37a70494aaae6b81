"""A split as a model takes it: batches of inputs and labels, whatever the inputs are."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from pclora_lab.nn.forward import Inputs, on_device

__all__ = ["Batches"]


class Batches:
    """One split; a subclass turns indices into inputs.

    Args:
        labels: class numbers ``(examples,)``.
    """

    takes_work = False
    """Whether making a batch takes so long that a GPU would wait for it."""

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, indices: Tensor, device: torch.device | str | None = None) -> Inputs:
        """What the model takes for these examples, on the device."""
        raise NotImplementedError

    def batch(
        self, indices: Tensor, device: torch.device | str | None = None
    ) -> tuple[Inputs, Tensor]:
        """Inputs and labels ``(batch,)`` of these examples, on the device."""
        return self.inputs(indices, device), on_device(self.labels[indices], device)

    def part(
        self, indices: Tensor, rows: slice, device: torch.device | str | None = None
    ) -> tuple[Inputs, Tensor]:
        """Some rows of a batch, as they stand in the whole of it."""
        return self.batch(indices[rows], device)

    def begun(
        self, indices: Tensor
    ) -> Callable[[torch.device | str | None], tuple[Inputs, Tensor]]:
        """Do all of :meth:`batch` that takes work and no device; what is left gives the batch."""
        return partial(self.batch, indices)

    def notes(self, name: str) -> list[str]:
        """What a person should know about how examples became inputs, a sentence each.

        Args:
            name: of the split.
        """
        return []

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Indices in batches without end, a new permutation for every epoch."""
        batch_size = min(batch_size, len(self))
        while True:
            order = torch.randperm(len(self), generator=generator, device="cpu")
            for start in range(0, len(self) - batch_size + 1, batch_size):
                yield order[start : start + batch_size]

    def in_order(self, batch_size: int, limit: int | None = None) -> Iterator[Tensor]:
        """Indices over the split once; with a limit, evenly spread examples only."""
        yield from self._indices(limit).split(batch_size)

    def for_scoring(self, batch_size: int, limit: int | None = None) -> Iterator[Tensor]:
        """The indices of :meth:`in_order` in whatever order is computed fastest."""
        yield from self.in_order(batch_size, limit)

    def _indices(self, limit: int | None) -> Tensor:
        count = len(self) if limit is None else min(limit, len(self))
        return torch.linspace(0, len(self) - 1, count, device="cpu").round().long()
