"""How large a model is and would be: parameters, MACs and bytes, counted without allocating.

A model is traced once on the meta device (no storage, no arithmetic). Every plan for a rank is
plain arithmetic on that trace, fast enough to follow a slider.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from pclora_lab.options import check_ranks
from pclora_lab.surgery import (
    call_model,
    evaluating,
    example_input,
    find_embeddings,
    find_targets,
    meta_copy,
    tokens_seen,
)

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

__all__ = [
    "LayerCount",
    "ModelCounts",
    "Plan",
    "Size",
    "count_macs",
    "count_model",
    "plan",
    "resolve_ranks",
]

Rank = int | str | Mapping[str, int] | Sequence[tuple[str, int]]


@dataclass(frozen=True)
class LayerCount:
    """One replaceable layer and what it does for one input example.

    ``always_bias``: its low-rank stand-in has a C even where the dense layer has no bias.
    ``embedding``: a table of words, ``in_features`` of them; looking one up multiplies nothing.
    """

    name: str
    in_features: int
    out_features: int
    bias: bool
    tokens: int
    bytes_per_value: int
    always_bias: bool = True
    embedding: bool = False

    @property
    def params(self) -> int:
        """Weights and biases of the dense layer."""
        return self.in_features * self.out_features + self.out_features * self.bias

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense layer for one example."""
        return 0 if self.embedding else self.tokens * self.in_features * self.out_features

    @property
    def break_even_rank(self) -> int:
        """⌈in·out / (in + out)⌉: from here on A and B together are at least as large as W."""
        return -(-self.in_features * self.out_features // (self.in_features + self.out_features))

    @property
    def largest_rank(self) -> int:
        """The largest rank at which A, B and C together are smaller than the dense layer."""
        room = self.params - self.low_rank_params(0) - 1
        return max(0, room // (self.in_features + self.out_features))

    def low_rank_params(self, rank: int) -> int:
        """``r·(in + out) + out``: A, B and, where there is one, C."""
        bias = self.out_features * (self.bias or self.always_bias)
        return rank * (self.in_features + self.out_features) + bias

    def low_rank_macs(self, rank: int) -> int:
        """Multiply-accumulates of B(Ax) for one example; of a table, of B alone."""
        looked_up = 0 if self.embedding else self.in_features
        return self.tokens * rank * (looked_up + self.out_features)


@dataclass(frozen=True)
class ModelCounts:
    """A model's trace: its replaceable layers and its totals, for one input example."""

    layers: tuple[LayerCount, ...]
    params: int
    macs: int
    bytes: int

    @property
    def break_even_rank(self) -> int:
        """The smallest break-even rank of all layers: a uniform rank must stay below it."""
        return min(layer.break_even_rank for layer in self.layers)

    @property
    def largest_rank(self) -> int:
        """The largest uniform rank at which every layer shrinks."""
        return min(layer.largest_rank for layer in self.layers)


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


def count_model(
    model: nn.Module,
    *,
    targets: str = "blocks",
    example: Tensor | Mapping[str, Tensor] | None = None,
    embeddings: str = "dense",
) -> ModelCounts:
    """Trace a model on the meta device.

    Args:
        model: on any device; it is only read.
        targets: see :func:`pclora_lab.surgery.find_targets`.
        example: one batch whose first dimension is 1; timm and transformers models know theirs.
        embeddings: ``low_rank`` counts the word embedding among the layers to replace.

    Raises:
        ValueError: no target, a target that never fires, or no example where one is needed.
    """
    linears = find_targets(model, targets)
    example = example_input(model, "meta") if example is None else _to_meta(example)
    twin = meta_copy(model)
    tables = find_embeddings(model) if embeddings == "low_rank" else {}
    layers = {name: twin.get_submodule(name) for name in (*linears, *tables)}
    with _flop_counter() as flops:
        tokens = tokens_seen(twin, layers, example)
    parameters = list(model.parameters())
    counted = [_layer_count(name, linears[name], tokens[name]) for name in linears]
    counted += [_table_count(name, table, tokens[name]) for name, table in tables.items()]
    return ModelCounts(
        layers=tuple(counted),
        params=sum(p.numel() for p in parameters),
        macs=flops.get_total_flops() // 2,
        bytes=sum(t.numel() * t.element_size() for t in (*parameters, *model.buffers())),
    )


def count_macs(model: nn.Module, example: Tensor | Mapping[str, Tensor] | None = None) -> int:
    """Multiply-accumulates of one forward pass: linear layers, convolutions, attention products.

    Args:
        model: any model, also a compressed one; it is only read.
        example: one input; timm and transformers models know theirs.
    """
    example = example_input(model, "meta") if example is None else _to_meta(example)
    twin = meta_copy(model)
    with evaluating(twin), _flop_counter() as flops:
        call_model(twin, example)
    return flops.get_total_flops() // 2


def _flop_counter() -> "FlopCounterMode":
    # Here, because it imports triton: a tenth of the time that importing torch takes.
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(display=False)


def _to_meta(example: Tensor | Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
    if isinstance(example, Tensor):
        return example.to("meta")
    # Without storage nobody can look into a mask; a full one is the same work.
    return {key: value.to("meta") for key, value in example.items() if key != "attention_mask"}


def _layer_count(name: str, layer: nn.Linear, tokens: int) -> LayerCount:
    return LayerCount(
        name=name,
        in_features=layer.in_features,
        out_features=layer.out_features,
        bias=layer.bias is not None,
        tokens=tokens,
        bytes_per_value=layer.weight.element_size(),
    )


def _table_count(name: str, table: nn.Embedding, tokens: int) -> LayerCount:
    return LayerCount(
        name=name,
        in_features=table.num_embeddings,
        out_features=table.embedding_dim,
        bias=False,
        tokens=tokens,
        bytes_per_value=table.weight.element_size(),
        always_bias=False,
        embedding=True,
    )


def resolve_ranks(layers: tuple[LayerCount, ...], rank: Rank) -> dict[str, int]:
    """One rank for every layer.

    Args:
        layers: the layers of a trace.
        rank: a whole number for all, ``"25%"`` of each layer's break-even rank (at least 1), or
            a rank by layer name, also as pairs.

    Raises:
        ValueError: not a rank, at or above a layer's break-even, a layer without one, or a name
            that no layer has.

    Example:
        >>> layer = LayerCount("fc", 768, 768, True, 1, 4)
        >>> resolve_ranks((layer,), "25%")
        {'fc': 96}
    """
    checked = check_ranks(rank)
    if isinstance(checked, tuple):
        given = dict(checked)
        _refuse_other_names(layers, given)
        ranks = {layer.name: _layer_rank(layer, given[layer.name]) for layer in layers}
    else:
        ranks = {layer.name: _layer_rank(layer, checked) for layer in layers}
    _refuse_growth(layers, ranks, uniform=isinstance(checked, int))
    return ranks


def _refuse_other_names(layers: tuple[LayerCount, ...], given: Mapping[str, int | str]) -> None:
    names = [layer.name for layer in layers]
    unknown = [name for name in given if name not in names]
    if unknown:
        near = difflib.get_close_matches(unknown[0], names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the layers are {_listed(names)}"
        raise ValueError(
            f"rank {given[unknown[0]]} is given for {unknown[0]}, which is no layer that is "
            f"replaced: {hint}"
        )
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(f"no rank is given for {_listed(missing)}: name every layer")


def _listed(names: list[str], most: int = 8) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _layer_rank(layer: LayerCount, rank: int | str) -> int:
    if isinstance(rank, int):
        return rank
    share = float(rank.rstrip("%")) / 100
    exact = layer.in_features * layer.out_features / (layer.in_features + layer.out_features)
    return min(max(1, int(share * exact)), max(1, layer.largest_rank))


def _exact_break_even(layer: LayerCount) -> float:
    exact = layer.in_features * layer.out_features / (layer.in_features + layer.out_features)
    return round(exact, 1)


def _refuse_growth(layers: tuple[LayerCount, ...], ranks: Mapping[str, int], uniform: bool) -> None:
    for layer in layers:
        rank = ranks[layer.name]
        if rank > layer.largest_rank:
            fits = min(la.largest_rank for la in layers) if uniform else layer.largest_rank
            if layer.largest_rank == 0:
                raise ValueError(
                    f"{layer.name} ({layer.in_features}→{layer.out_features}) is too thin: no rank "
                    "makes it smaller. Leave it out with a targets expression that does not match "
                    "it."
                )
            raise ValueError(
                f"rank {rank} is not below the break-even rank {_exact_break_even(layer):g} of "
                f"{layer.name} ({layer.in_features}→{layer.out_features}): the layer would not "
                f"shrink. Use a rank of at most {fits}{'' if uniform else ' there'}, or a share "
                'such as "25%".'
            )


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
        targets: see :func:`pclora_lab.surgery.find_targets`; not used with a trace.
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
    dense = tuple(w - r for w, r in zip(whole, replaced, strict=True))
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
    replaced = (*map(sum, zip(*before, strict=True)), *map(sum, zip(*after, strict=True)))
    total = (counts.params, counts.macs, counts.bytes)
    whole = (
        *total,
        *(t - b + a for t, b, a in zip(total, replaced[:3], replaced[3:], strict=True)),
    )
    return replaced, whole


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
