"""One replaced layer of a run, live: how much of it still comes from its base, and at which rank.

All numbers are a run's own: its config, the counts of its model and its history. What a run has not
measured is not drawn.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from pclora_lab.methods.base import Method
from pclora_lab.methods.layer_parts import LayerParts
from pclora_lab.methods.registry import make_method
from pclora_lab.models.loading import describe_model
from pclora_lab.nn.counting import LayerCount, ModelCounts
from pclora_lab.plots.block_grid import block_grid
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.widgets.layer_picture import LayerPicture

__all__ = ["LivingLayer", "counted"]

_SHARES = {"base": "layer_base_share", "changes": "layer_density"}
# What a picture shows; a page is sent no more than what has changed.
_DIGITS = 4


def counted(config: RunConfig, num_classes: int | None = None) -> tuple[ModelCounts, nn.Module]:
    """The layers that a run's method replaces, and its model without weights.

    Args:
        config: of the run.
        num_classes: of its data, for a head that is replaced too; None takes the model's own.

    Raises:
        ValueError: there is no such model, or it has no such layers.
        OSError: the hub is needed for its architecture and is not reached.

    Example:
        >>> counts, _ = counted(RunConfig())
        >>> len(counts.layers), counts.layers[0].name
        (16, 'blocks.0.attn.qkv')
    """
    sizes = {name: getattr(config, name) for name in ("img_size", "max_tokens", "split_qkv")}
    model = describe_model(config.model, num_classes=num_classes, **sizes)
    return make_method(config.method).count(model), model


def _offset(layer: LayerCount, parts: LayerParts) -> str:
    """What stands beside B: the method's own C, the dense layer's b, or nothing."""
    if parts.offset and (layer.bias or layer.always_bias):
        return "C"
    return "b" if layer.bias and parts.factors and not parts.base else ""


def _described(layers: Sequence[LayerCount], parts: LayerParts) -> list[dict[str, Any]]:
    grid = block_grid(layer.name for layer in layers)
    return [
        {
            "name": layer.name,
            "ins": layer.in_features,
            "outs": layer.out_features,
            "column": column,
            "row": row,
            "offset": _offset(layer, parts),
            "table": layer.embedding,
        }
        for layer, (column, row) in zip(layers, grid, strict=True)
    ]


class LivingLayer:
    """Made once, then shown what is chosen or what a run does.

    Args:
        on_choose: called with the name of the layer that a person chose.
        on_lambda: called with λ in [0, 1] where a person dragged W.
        on_rank: called with the rank of all layers where a person dragged A's edge.

    Attributes:
        widget: to display.

    Example:
        >>> from pclora_lab.methods.pclora.config import PCLoRAConfig
        >>> config = RunConfig(method=PCLoRAConfig(rank=8))
        >>> living = LivingLayer()
        >>> living.show(config, *counted(config))
        >>> shares = {layer["name"]: 0.25 for layer in living.widget.layers}
        >>> living.update([{"phase": "fade", "step": 3, "lam": 0.5, "layer_base_share": shares}])
        >>> living.widget.lam, living.widget.shares[0], living.widget.ranks[0]
        (0.5, 0.25, 8)
    """

    def __init__(
        self,
        on_choose: Callable[[str], object] = lambda _: None,
        on_lambda: Callable[[float], object] = lambda _: None,
        on_rank: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.widget = LayerPicture(on_choose, on_lambda, on_rank)
        self._lock = threading.RLock()
        self.clear("no run and no model to show a layer of")

    def clear(self, note: str) -> None:
        """Show one sentence in place of a picture."""
        with self._lock, self.widget.hold_sync():
            self.widget.layers, self.widget.note = [], note
            self._forget_rows()

    def _forget_rows(self) -> None:
        widget = self.widget
        widget.shares, widget.measured_at, widget.lam, widget.base_held = [], None, None, True
        widget.lambda_can_be_set = False

    def show(
        self,
        config: RunConfig,
        counts: ModelCounts,
        model: nn.Module,
        *,
        ranks: Mapping[str, int] | None = None,
        rank_can_be_set: bool = False,
    ) -> None:
        """Show the layers that a config replaces; nothing of a run is known yet.

        Args:
            config: of a run, or of the form.
            counts: trace of the dense model.
            model: the dense model, perhaps without storage.
            ranks: by layer, where they are known better than the config tells.
            rank_can_be_set: whether A's edge may be dragged, which needs one rank for all layers.

        Raises:
            ValueError: ranks that don't fit the layers.
        """
        method = make_method(config.method)
        parts = method.layer_parts
        if parts is None or not parts.replaces:
            why = "replaces no layer" if parts is not None else "does not say what it replaces"
            return self.clear(f"{method.title} {why}: there is none to show.")
        if ranks is None:
            ranks = method.layer_ranks(counts, model)
        # With factors alone, what has none stays as it is: it is not replaced.
        is_left = bool(ranks) and not parts.base
        layers = [layer for layer in counts.layers if not is_left or layer.name in ranks]
        with self._lock, self.widget.hold_sync():
            self._show_layers(layers, parts, [ranks.get(layer.name) for layer in layers])
            self._show_method(method, parts, by_layer=config.layer_metrics)
            largest = min((layer.largest_rank for layer in layers), default=0)
            given = _rank_for_all(method)
            self.widget.rank_can_be_set = rank_can_be_set and given is not None and largest > 0
            self.widget.largest_rank = max(largest, given or 1)

    def _show_layers(
        self, layers: Sequence[LayerCount], parts: LayerParts, ranks: Sequence[int | None]
    ) -> None:
        self._forget_rows()
        widget = self.widget
        widget.layers, widget.ranks = _described(layers, parts), list(ranks)
        widget.note = "" if layers else "there is no layer to show"
        names = [layer.name for layer in layers]
        if widget.chosen not in names:
            widget.chosen = names[0] if names else ""

    def _show_method(self, method: Method, parts: LayerParts, *, by_layer: bool) -> None:
        widget = self.widget
        names = ("base", "factors", "changes")
        widget.parts = {name: getattr(parts, name) for name in names} | {"fades": method.fades}
        widget.formula = parts.formula
        widget.shares_of = "base" if method.fades else "changes" if parts.changes else ""
        is_measured = by_layer or not method.fades
        widget.missing = "not measured yet" if is_measured else "not measured by layer"

    def update(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        lam: float | None = None,
        lambda_can_be_set: bool = False,
    ) -> None:
        """Show what a history tells last; a page is sent what has changed.

        Args:
            rows: the history, up to the step that is shown.
            lam: λ in a person's hand, which is newer than the history.
            lambda_can_be_set: whether W may be dragged now, as long as it is there and fades.
        """
        rows = list(rows)
        with self._lock, self.widget.hold_sync():
            if self.widget.layers:
                self._update(rows, lam)
                fades = self.widget.parts["fades"] and self.widget.base_held
                self.widget.lambda_can_be_set = lambda_can_be_set and fades

    def _update(self, rows: Sequence[Mapping[str, Any]], lam: float | None) -> None:
        widget, newest = self.widget, rows[-1] if rows else {}
        widget.lam = _share(newest.get("lam") if lam is None else lam)
        widget.base_held = newest.get("base_held") is not False
        column = _SHARES.get(widget.shares_of, "")
        measured = [row for row in rows if isinstance(row.get(column), Mapping) and row[column]]
        if not measured:
            widget.shares, widget.measured_at = [], None
            return
        shares = measured[-1][column]
        widget.shares = [_share(shares.get(layer["name"])) for layer in widget.layers]
        widget.measured_at = measured[-1]["step"]


def _share(value: object) -> float | None:
    """As it is drawn, in [0, 1]; a history that was edited by hand may hold anything."""
    if isinstance(value, int | float) and 0 <= value <= 1:
        return round(float(value), _DIGITS)
    return None


def _rank_for_all(method: Method) -> int | None:
    """The one rank that the options give to all layers; None where something else decides."""
    config = method.config
    rank = getattr(config, "rank", None)
    decided = getattr(config, "budget", None) is not None
    is_uniform = getattr(config, "rank_allocation", "uniform") == "uniform"
    has_factors = method.layer_parts is not None and method.layer_parts.factors
    return rank if type(rank) is int and has_factors and is_uniform and not decided else None
