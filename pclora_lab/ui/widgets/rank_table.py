"""A list of layers whose ranks can be edited one by one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from pclora_lab.nn.counting import LayerCount

__all__ = ["RankTable"]


class RankTable(anywidget.AnyWidget):
    """One row per layer: name, shape, break-even rank, its rank, and the share that is left.

    The browser sends a rank only if it shrinks its layer; anything else is marked there.

    Attributes:
        layers: what a row shows; set by :meth:`set_layers`.
        ranks: by layer name; changes when a person edits a row.

    Example:
        >>> table = RankTable()
        >>> table.set_layers((LayerCount("fc", 8, 8, True, 1, 4),), {"fc": 2})
        >>> table.ranks, table.layers[0]["largest"]
        ({'fc': 2}, 3)
    """

    _esm = Path(__file__).with_name("rank_table.js")

    layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    ranks = traitlets.Dict().tag(sync=True)

    def set_layers(self, layers: tuple[LayerCount, ...], ranks: Mapping[str, int]) -> None:
        """Show other layers.

        Args:
            layers: of a trace.
            ranks: by layer name.
        """
        rows = [_row(layer) for layer in layers]
        with self.hold_sync():
            if rows != self.layers:
                self.layers = rows
            self.ranks = dict(ranks)


def _row(layer: LayerCount) -> dict[str, Any]:
    return {
        "name": layer.name,
        "shape": f"{layer.in_features}→{layer.out_features}",
        "even": layer.break_even_rank,
        "largest": layer.largest_rank,
        "dense": layer.params,
        "fixed": layer.low_rank_params(0),
        "each": layer.low_rank_params(1) - layer.low_rank_params(0),
    }
