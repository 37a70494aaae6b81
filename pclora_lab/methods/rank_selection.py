"""Which rank every layer gets: given, as a share of break-even, or bought with a budget."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from pclora_lab.fields import option
from pclora_lab.methods.base import Method, MethodConfig
from pclora_lab.methods.layer_parts import LayerParts
from pclora_lab.methods.rank_budget import ranks_for_budget
from pclora_lab.nn.counting import LayerCount, ModelCounts
from pclora_lab.nn.ranks import Rank, check_ranks, resolve_ranks
from pclora_lab.nn.sizes import Plan, plan
from pclora_lab.wording import rounded_up

__all__ = [
    "LowRankConfig",
    "LowRankMethod",
    "budget_option",
    "budget_unit_option",
    "chosen_ranks",
    "lora_rank",
    "planned_ranks",
    "rank_allocation_option",
]


def budget_option(default: float | None = None) -> Any:
    """A field for a share of the replaced layers; None leaves the size to another option."""
    return option(
        default,
        "number",
        "budget",
        "share of the replaced layers' parameters (or MACs) to keep or train",
        low=1e-6,
        high=1,
        optional=default is None,
        step=0.01,
        sizes=True,
    )


def budget_unit_option() -> str:
    """A field for what a budget counts."""
    return option(
        "params", "choice", "budget of", "what a budget counts", choices=("params", "macs"),
        hidden=True, formerly="unit",
    )  # fmt: skip


def rank_allocation_option() -> str:
    """A field for how a budget is spent among the layers."""
    return option(
        "uniform", "choice", "allocation", "one rank for all, or by the energy of singular values",
        choices=("uniform", "energy"), sizes=True, formerly="spend",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LowRankConfig(MethodConfig):
    """Ranks, given or bought with a budget.

    Attributes:
        rank: r of every layer; a whole number, ``"25%"`` of each layer's break-even rank, or a
            mapping of every layer's name to its rank (kept as sorted pairs, so that configs can
            be compared and hashed).
        budget: the share of the replaced layers that is kept, in (0, 1]; overrides ``rank``.
        budget_unit: what the budget counts, ``params`` or ``macs``.
        rank_allocation: ``uniform`` for one rank everywhere; ``energy`` spends the same budget
            where the singular values are largest.
        embeddings: ``dense`` keeps the word embedding of a text model as it is; ``low_rank``
            replaces it like a layer of the blocks, at the same rank.

    Raises:
        ValueError: a value out of its range; low-rank embeddings with ``energy``; ranks by layer
            with ``energy`` and no budget, which would choose other ranks.

    Example:
        >>> from pclora_lab import PCLoRAConfig
        >>> config = PCLoRAConfig(rank={"fc2": 8, "fc1": 4})
        >>> config.rank, config.to_dict()["rank"]
        ((('fc1', 4), ('fc2', 8)), {'fc1': 4, 'fc2': 8})
    """

    rank: Rank = option(
        16,
        "rank",
        "rank r",
        'rank, a share of break-even such as 25%, or {"layer": rank, …}',
        sizes=True,
        check=check_ranks,
    )
    budget: float | None = budget_option()
    budget_unit: str = budget_unit_option()
    rank_allocation: str = rank_allocation_option()
    embeddings: str = option(
        "dense", "choice", "embeddings", "word embeddings of a text model: as is, or low-rank",
        choices=("dense", "low_rank"), hidden=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Validate; singular values of a table and of a layer can't be set against each other."""
        super().__post_init__()
        if self.embeddings == "low_rank" and self.rank_allocation == "energy":
            raise ValueError(
                'embeddings="low_rank" can\'t be combined with rank_allocation="energy": the '
                "singular values of a table of words and of a layer have no common scale; use "
                'rank_allocation="uniform"'
            )
        if self.by_layer and self.budget is None and self.rank_allocation == "energy":
            raise ValueError(
                'rank is given by layer and rank_allocation="energy" would choose other ranks: use '
                'rank_allocation="uniform" to keep the given ones, or a budget instead of ranks'
            )

    @property
    def by_layer(self) -> bool:
        """Whether every layer is given a rank of its own."""
        return isinstance(self.rank, tuple)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only; ranks by layer as an object."""
        rank = dict(self.rank) if isinstance(self.rank, tuple) else self.rank
        return {**super().to_dict(), "rank": rank}

    def label(self) -> str:
        """As of every method; ranks by layer would not fit into a name."""
        if not self.by_layer:
            return super().label()
        short = MethodConfig.label(dataclasses.replace(self, rank=type(self).rank))
        return f"{self.name}-r-by-layer{short.removeprefix(self.name)}"[:60]


def chosen_ranks(
    config: LowRankConfig, counts: ModelCounts, spectra: Callable[[], Mapping[str, Tensor]]
) -> dict[str, int]:
    """Ranks as the config says: given, or bought with a budget.

    With ``rank_allocation="energy"`` and no budget, what the given rank would cost is the budget.

    Args:
        config: rank, budget, unit and how it is spent.
        counts: trace of the dense model.
        spectra: singular values by layer, only asked for if they are needed.
    """
    if config.budget is None and config.rank_allocation == "uniform":
        return resolve_ranks(counts.layers, config.rank)
    budget = config.budget if config.budget is not None else _share_kept(config, counts)
    values = spectra() if config.rank_allocation == "energy" else None
    return ranks_for_budget(
        counts,
        budget,
        budget_unit=config.budget_unit,
        rank_allocation=config.rank_allocation,
        spectra=values,
    )


def _share_kept(config: LowRankConfig, counts: ModelCounts) -> float:
    kept = plan(counts, config.rank).replaced
    if config.budget_unit == "macs":
        return kept.macs_after / kept.macs_before
    return kept.params_after / kept.params_before


def planned_ranks(config: LowRankConfig, counts: ModelCounts) -> dict[str, int]:
    """As :func:`chosen_ranks`, from the architecture alone: energy is planned as uniform."""
    return chosen_ranks(replace(config, rank_allocation="uniform"), counts, dict)


class AdapterSize(Protocol):
    """A config whose adapters all have one rank, given or bought with a budget."""

    @property
    def rank(self) -> int:
        """r, where there is no budget."""

    @property
    def budget(self) -> float | None:
        """Share of the layers' parameters for the adapters."""


def lora_rank(config: AdapterSize, layers: Iterable[LayerCount], smallest: int = 1) -> int:
    """The given rank, or the largest whose adapters (A and B) fit into the budget.

    Raises:
        ValueError: not even the smallest rank fits; names the smallest budget that does.
    """
    if config.budget is None:
        return config.rank
    layers = tuple(layers)
    each = sum(layer.in_features + layer.out_features for layer in layers)
    room = sum(layer.params for layer in layers)
    # The last bit of a fraction must not cost a rank.
    rank = int(config.budget * room / each * (1 + 1e-12))
    if rank < smallest:
        raise ValueError(
            f"budget {config.budget:g} is too small for rank {smallest} in {len(layers)} layers: "
            f"the smallest possible is {rounded_up(smallest * each / room)}"
        )
    return rank


LowRankConfigT = TypeVar("LowRankConfigT", bound=LowRankConfig)


class LowRankMethod(Method[LowRankConfigT]):
    """A method whose finished model has low-rank layers at the config's ranks."""

    layer_parts = LayerParts(formula="y = B(Ax) + C", factors=True, offset=True)

    def plan(self, counts: ModelCounts, model: nn.Module) -> Plan:
        """The sizes at the config's ranks."""
        return plan(counts, planned_ranks(self.config, counts))
