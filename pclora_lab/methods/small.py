"""The same architecture made narrower and trained from scratch: what the budget alone can do."""

import copy
from bisect import bisect_right
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from pclora_lab.fields import option
from pclora_lab.methods.base import Method, MethodConfig, MethodContext
from pclora_lab.methods.layer_parts import LayerParts
from pclora_lab.methods.rank_selection import budget_option
from pclora_lab.methods.trial import try_student
from pclora_lab.nn.counting import ModelCounts, count_model
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.layers.wrappers import unwrapped
from pclora_lab.nn.sizes import Plan, Size
from pclora_lab.wording import rounded_up

__all__ = ["SmallFromScratch", "SmallFromScratchConfig", "narrower", "width_for_budget"]


@dataclass(frozen=True, kw_only=True)
class SmallFromScratchConfig(MethodConfig):
    """How narrow.

    Attributes:
        budget: share of the block layers' parameters to keep.
        width: the embedding's width; None takes the largest that fits the budget.

    Example:
        >>> SmallFromScratchConfig(budget=0.1).width is None
        True
    """

    name: ClassVar[str] = "small"
    default_lr: ClassVar[float] = 2e-3

    budget: float = budget_option(0.12)
    width: int | None = option(
        None,
        "whole",
        "width",
        "none: what the budget allows",
        low=1,
        high=2**16,
        optional=True,
        sizes=True,
    )


def narrower(model: nn.Module, width: int) -> nn.Module:
    """The model's architecture with another embedding width, without storage (meta device).

    Args:
        model: loaded by name; heads and depth stay.
        width: a multiple of the number of heads.

    Raises:
        ValueError: the model was not loaded by name, or can't take the width.
    """
    from pclora_lab.models.recipes import build_from_recipe

    with torch.device("meta"):
        return build_from_recipe({**_recipe(model), "width": width})


def _recipe(model: nn.Module) -> dict[str, object]:
    from pclora_lab.models.recipes import model_recipe

    recipe = model_recipe(model)
    if recipe is None:
        raise ValueError(
            f"{type(model).__name__} was not loaded by name, so its architecture can't be built "
            "narrower: load it with load_model"
        )
    return recipe


def width_for_budget(model: nn.Module, budget: float, targets: str = "blocks") -> int:
    """The largest width whose block layers have at most ``budget`` of the model's.

    Raises:
        ValueError: not even the narrowest fits; names the smallest budget that does.
    """
    counts = (getattr(module, "num_heads", None) for module in model.modules())
    heads = next((count for count in counts if isinstance(count, int)), None)
    width = getattr(model, "num_features", None)
    if heads is None or width is None:
        raise ValueError(
            f"{type(model).__name__} has no attention heads, by which its width could be divided: "
            "only vision transformers can be built narrower"
        )

    def size(width: int) -> int:
        return _block_params(count_model(narrower(model, width), targets=targets))

    room = _block_params(count_model(model, targets=targets))
    widths = range(heads, width + 1, heads)
    fitting = bisect_right(widths, budget * room, key=size)
    if not fitting:
        raise ValueError(
            f"budget {budget:g} is too small: one channel per head already takes "
            f"{rounded_up(size(heads) / room)} of the block layers' parameters"
        )
    return widths[fitting - 1]


def _block_params(counts: ModelCounts) -> int:
    return sum(layer.params for layer in counts.layers)


class SmallFromScratch(Method[SmallFromScratchConfig]):
    """A narrow model of the same kind, trained on the labels from nothing."""

    name = "small"
    title = "small from scratch"
    summary = "Train a narrower model of the same kind from nothing."
    Config = SmallFromScratchConfig
    starts_from = "nothing"
    layer_parts = LayerParts()
    color, marker = "yellow", "<"

    def apply(self, model: nn.Module, context: MethodContext = MethodContext()) -> nn.Module:
        """A new model; nothing of the given one's weights is used."""
        from pclora_lab.models.recipes import build_from_recipe

        model = unwrapped(model)
        device = next(model.parameters()).device
        with generators_kept():
            # timm initializes from the global generator.
            torch.manual_seed(context.seed)
            small = build_from_recipe({**_recipe(model), "width": self._width(model)})
        return try_student(small.to(device).requires_grad_(True), model, context.example)

    def _width(self, model: nn.Module) -> int:
        if self.config.width is not None:
            return self.config.width
        return width_for_budget(model, self.config.budget, self.config.targets)

    def finalize(self, student: nn.Module) -> nn.Module:
        """A copy in eval mode."""
        return copy.deepcopy(unwrapped(student)).eval()

    def plan(self, counts: ModelCounts, model: nn.Module) -> Plan:
        """The sizes of the narrower model."""
        after = count_model(narrower(model, self._width(model)), targets=self.config.targets)
        whole = _size(_totals(counts), _totals(after))
        replaced = _size(_of_layers(counts), _of_layers(after))
        dense = _size(_of_the_rest(counts), _of_the_rest(after))
        return Plan(dense, replaced, whole, {}, counts.break_even_rank)


# Parameters, MACs and bytes.
Totals = tuple[int, int, int]


def _totals(counts: ModelCounts) -> Totals:
    return counts.params, counts.macs, counts.bytes


def _of_layers(counts: ModelCounts) -> Totals:
    layers = counts.layers
    size = sum(layer.params * layer.bytes_per_value for layer in layers)
    return sum(layer.params for layer in layers), sum(layer.macs for layer in layers), size


def _of_the_rest(counts: ModelCounts) -> Totals:
    whole, layers = _totals(counts), _of_layers(counts)
    return whole[0] - layers[0], whole[1] - layers[1], whole[2] - layers[2]


def _size(before: Totals, after: Totals) -> Size:
    return Size(
        params_before=before[0],
        params_after=after[0],
        params_removed=1 - after[0] / before[0],
        macs_before=before[1],
        macs_after=after[1],
        macs_removed=1 - after[1] / before[1] if before[1] else 0.0,
        bytes_before=before[2],
        bytes_after=after[2],
    )
