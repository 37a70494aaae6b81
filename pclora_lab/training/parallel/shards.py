"""One process's part of every batch, and gradients that are those of the whole batch."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from pclora_lab.data.batches import Batches
from pclora_lab.methods.distillation.losses import token_means_weighted
from pclora_lab.nn.forward import Inputs
from pclora_lab.remarks import remark
from pclora_lab.training.parallel.ranks import Ranks, lost_explained
from pclora_lab.training.parallel.weighting import Units, losses_weighted, part_weight

__all__ = ["ShardedBatches", "ShardedSteps", "WholeSteps", "send_weights", "steps_of"]

# As many at once, so that what is sent needs little memory of its own.
_BUCKET_BYTES = 2**25


class ShardedBatches(Batches):
    """Every ``count``-th example of each batch, as it stands in the whole batch.

    Indices stay those of whole batches, so that all processes draw the same ones.

    Args:
        whole: the split.
        ranks: of this process.

    Attributes:
        share: of the newest batch's examples that are this process's.
        token_weight: of a mean over its real tokens, beside the share of its examples.

    Example:
        >>> class Numbers(Batches):
        ...     def inputs(self, indices, device=None):
        ...         return indices.float()
        >>> second = ShardedBatches(Numbers(torch.arange(5)), Ranks(1, 2))
        >>> second.batch(torch.tensor([4, 3, 2, 1, 0])), second.share
        ((tensor([3., 1.]), tensor([3, 1])), 0.4)
    """

    def __init__(self, whole: Batches, ranks: Ranks) -> None:
        super().__init__(whole.labels)
        self.whole, self.takes_work = whole, whole.takes_work
        self.rows = slice(ranks.number, None, ranks.count)
        self.share = self.token_weight = 1.0

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Indices of whole batches."""
        yield from self.whole.shuffled(batch_size, generator)

    def batch(
        self, indices: Tensor, device: torch.device | str | None = None
    ) -> tuple[Inputs, Tensor]:
        """Inputs and labels of this process's part."""
        self._note(indices)
        return self.whole.part(indices, self.rows, device)

    def begun(
        self, indices: Tensor
    ) -> Callable[[torch.device | str | None], tuple[Inputs, Tensor]]:
        """Likewise; what is noted is of the batch that was asked for last."""
        return partial(self._rest, indices, self.whole.begun(indices[self.rows]))

    def _rest(
        self,
        indices: Tensor,
        rest: Callable[[torch.device | str | None], tuple[Inputs, Tensor]],
        device: torch.device | str | None,
    ) -> tuple[Inputs, Tensor]:
        self._note(indices)
        return rest(device)

    def _note(self, indices: Tensor) -> None:
        own = indices[self.rows]
        self.share, self.token_weight = len(own) / len(indices), 1.0
        lengths = getattr(self.whole, "lengths", None)
        if lengths is not None:
            tokens = int(lengths[own].sum()) / int(lengths[indices].sum())
            self.token_weight = tokens / self.share


class WholeSteps:
    """Every step as it is in one process.

    Args:
        batches: training data.

    Attributes:
        batches: what a step is given.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def begin(self, model: nn.Module) -> None:
        """Before the first step."""

    def seed(self, *parts: float) -> int:
        """Of what a forward pass draws."""
        return hash(parts)

    def weigh(self, labels: Any) -> None:
        """Before a forward pass on the batch of these labels."""

    def forward(self) -> AbstractContextManager[None]:
        """Around a forward pass and its losses."""
        return nullcontext()

    def loss(self, terms: dict[str, Tensor]) -> Tensor:
        """What the backward pass begins with."""
        return terms["loss"]

    def add_up(self, optimizer: torch.optim.Optimizer) -> None:
        """Make gradients those of the whole batch."""

    def logged(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of the whole batch, without their graph."""
        return {name: value.detach() for name, value in terms.items()}


class ShardedSteps(WholeSteps):
    """A step that several processes take together, each with its part of the batch.

    Each process multiplies its loss by its share of the batch's examples, and the gradients are
    added up: ``∇L = Σ_r (n_r / n) ∇L_r``, which is the whole batch's gradient for every mean over
    examples. Means over real tokens are weighted with the tokens on top, and a task's loss with
    what it is a mean over (:meth:`pclora_lab.tasks.Task.units`). Afterwards all processes hold the
    same gradients to the last bit, so that clipping, the optimizer and an allocator that looks at
    gradients do the same in each.

    The sums are plain all-reduces after the backward pass. ``DistributedDataParallel`` sends while
    it computes (between two CPU processes both took the same time), but it keeps hold of the
    buffers of a base that is dropped, and averages as if all parts had the same size.

    Args:
        batches: training data.
        ranks: of this process.
        units: what the task's loss is a mean over; without it, examples.

    Raises:
        ValueError: fewer training examples than processes.
    """

    def __init__(self, batches: Batches, ranks: Ranks, units: Units | None = None) -> None:
        if len(batches) < ranks.count:
            raise ValueError(
                f"{len(batches)} training examples can't be divided among {ranks.count} processes: "
                f"start at most {len(batches)}"
            )
        self.ranks, self.sharded = ranks, ShardedBatches(batches, ranks)
        super().__init__(self.sharded)
        self._own = torch.empty(0, device="cpu")
        self._units = units
        self._weight: Tensor | None = None

    def begin(self, model: nn.Module) -> None:
        """All processes train what the first one has, to the last bit."""
        if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
            remark(
                f"{type(model).__name__} has batch normalization, whose means are taken over each "
                "process's part of a batch: the result is not quite that of one process"
            )
        send_weights(model, self.ranks)

    def seed(self, *parts: float) -> int:
        """The first process draws what one alone would; no other draws the same."""
        return hash((*parts, self.ranks.number) if self.ranks.number else parts)

    def weigh(self, labels: Any) -> None:
        """How much this process's part counts in a mean over pixels or tokens."""
        own = None if self._units is None else self._units(labels)
        self._weight = part_weight(own, self.sharded.share, self.ranks)

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Around a forward pass and its losses."""
        with token_means_weighted(self.sharded.token_weight), losses_weighted(self._weight):
            yield

    def loss(self, terms: dict[str, Tensor]) -> Tensor:
        """This process's part of the whole batch's loss."""
        dtype = torch.promote_types(terms["loss"].dtype, torch.float32)
        own = torch.stack([value.detach().to(dtype) for value in terms.values()])
        self._own = own * self.sharded.share
        return terms["loss"] * self.sharded.share

    def add_up(self, optimizer: torch.optim.Optimizer) -> None:
        """Gradients and logged terms, over all processes."""
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        gradients = [p.grad for p in parameters if p.grad is not None]
        _together([self._own, *gradients], distributed.all_reduce, self.ranks)

    def logged(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of the whole batch."""
        return dict(zip(terms, self._own.unbind(), strict=True))


def send_weights(model: nn.Module, ranks: Ranks) -> None:
    """Give every process the weights and buffers that the first one has."""
    if ranks.count > 1:
        tensors = [t.detach() for t in (*model.parameters(), *model.buffers())]
        send = partial(distributed.broadcast, src=distributed.get_global_rank(ranks.data, 0))
        _together([t for t in tensors if t.is_floating_point()], send, ranks)


@torch.no_grad()
def _together(tensors: Iterable[Tensor], send: Callable[..., object], ranks: Ranks) -> None:
    for bucket in _buckets(tensors):
        flat = _flatten_dense_tensors(bucket)
        with lost_explained():
            send(flat, group=ranks.data)
        for tensor, sent in zip(bucket, _unflatten_dense_tensors(flat, bucket), strict=True):
            tensor.copy_(sent)


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The same tensors, some megabytes of one type at a time."""
    open_: dict[torch.dtype, list[Tensor]] = {}
    sizes: dict[torch.dtype, int] = {}
    for tensor in tensors:
        open_.setdefault(tensor.dtype, []).append(tensor)
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.nbytes
        if sizes[tensor.dtype] >= _BUCKET_BYTES:
            del sizes[tensor.dtype]
            yield open_.pop(tensor.dtype)
    yield from open_.values()


def steps_of(batches: Batches, ranks: Ranks, units: Units | None = None) -> WholeSteps:
    """How the processes take their steps.

    Args:
        batches: training data.
        ranks: of this process.
        units: what the task's loss is a mean over; without it, examples.
    """
    return WholeSteps(batches) if ranks.count == 1 else ShardedSteps(batches, ranks, units)
