"""What a rank would give: sizes before and after, as arithmetic on a trace."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from operator import add, sub
from typing import Any

from torch import Tensor, nn

from pclora_lab.nn.counting import ModelCounts, count_model
from pclora_lab.nn.ranks import Rank, resolve_ranks

__all__ = ["Plan", "Size", "dense_plan", "plan"]


@dataclass(frozen=True)
class Size:
    """One part of a model before and after; ``removed`` are fractions of before."""

    params_before: int
    params_after: int
    params_removed: float
    macs_before: int
    macs_after: int
    macs_removed: float
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class Plan:
    """What a rank would give.

    Attributes:
        dense: the part that stays as it is (embeddings, norms, head, attention products).
        replaced: the linear layers that become low-rank.
        whole_model: both together.
        ranks: rank by layer name.
        break_even_rank: smallest break-even rank of the replaced layers.
    """

    dense: Size
    replaced: Size
    whole_model: Size
    ranks: dict[str, int]
    break_even_rank: int

    def to_dict(self) -> dict[str, object]:
        """Plain types only, ready for JSON."""
        return asdict(self)


def plan(
    model: nn.Module | ModelCounts,
    rank: Rank,
    *,
    targets: str = "blocks",
    example: Tensor | Mapping[str, Tensor] | None = None,
) -> Plan:
    """What compressing a model at a rank would give, without touching the model.

    MACs count linear layers, convolutions and attention products for one input example, as
    :class:`torch.utils.flop_counter.FlopCounterMode` does; element-wise work is not in them.

    Args:
        model: a model, or its trace from :func:`count_model` (then a plan takes microseconds).
        rank: see :func:`resolve_ranks`.
        targets: see :func:`pclora_lab.nn.surgery.find_targets`; not used with a trace.
        example: see :func:`count_model`; not used with a trace.

    Raises:
        ValueError: see :func:`count_model` and :func:`resolve_ranks`.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> small = plan(net, 8, targets="^0$", example=torch.zeros(1, 64))
        >>> small.replaced.params_before, small.replaced.params_after, small.break_even_rank
        (4160, 1088, 32)
    """
    if isinstance(model, ModelCounts):
        counts = model
    else:
        counts = count_model(model, targets=targets, example=example)
    ranks = resolve_ranks(counts.layers, rank)
    replaced, whole = _sizes(counts, ranks)
    dense = tuple(map(sub, whole, replaced))
    return Plan(
        dense=_size(*dense),
        replaced=_size(*replaced),
        whole_model=_size(*whole),
        ranks=ranks,
        break_even_rank=counts.break_even_rank,
    )


def _sizes(counts: ModelCounts, ranks: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
    """(params, macs, bytes) before and after, of the replaced layers and of the whole model."""
    before = [(c.params, c.macs, c.params * c.bytes_per_value) for c in counts.layers]
    after = [
        (c.low_rank_params(r), c.low_rank_macs(r), c.low_rank_params(r) * c.bytes_per_value)
        for c, r in ((c, ranks[c.name]) for c in counts.layers)
    ]
    was, now = (tuple(sum(c[what] for c in part) for what in range(3)) for part in (before, after))
    total = (counts.params, counts.macs, counts.bytes)
    return (*was, *now), (*total, *map(add, map(sub, total, was), now))


def _size(*values: int) -> Size:
    params, macs, size, params_after, macs_after, size_after = values
    return Size(
        params_before=params,
        params_after=params_after,
        params_removed=_removed(params, params_after),
        macs_before=macs,
        macs_after=macs_after,
        macs_removed=_removed(macs, macs_after),
        bytes_before=size,
        bytes_after=size_after,
    )


def _removed(before: int, after: int) -> float:
    return 1 - after / before if before else 0.0


def dense_plan(counts: ModelCounts) -> Plan:
    """The sizes of a method that leaves the model as large as it is."""
    whole = plan(counts, {layer.name: 1 for layer in counts.layers})
    return Plan(
        dense=whole.dense,
        replaced=_unchanged(whole.replaced),
        whole_model=_unchanged(whole.whole_model),
        ranks={},
        break_even_rank=counts.break_even_rank,
    )


def _unchanged(size: Any) -> Any:
    return replace(
        size,
        params_after=size.params_before,
        params_removed=0.0,
        macs_after=size.macs_before,
        macs_removed=0.0,
        bytes_after=size.bytes_before,
    )
