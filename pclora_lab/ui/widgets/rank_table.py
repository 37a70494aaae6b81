"""A table of layers whose ranks can be edited one by one."""

from collections.abc import Mapping
from typing import Any

import traitlets

from pclora_lab.nn.counting import LayerCount
from pclora_lab.ui.widgets.table import Table

__all__ = ["RankTable"]

_COLUMNS = (
    {"name": "layer", "label": "layer"},
    {"name": "shape", "label": "in→out"},
    {"name": "even", "label": "break-even", "kind": "number"},
    {
        "name": "rank",
        "label": "rank",
        "kind": "number",
        "editable_to": "largest",
        "hint": "from there on the layer would not shrink",
    },
    {"name": "left", "label": "parameters left", "kind": "share", "times": "rank", "plus": "fixed"},
)


class RankTable(Table):
    """One row per layer: name, shape, break-even rank, its rank, and the share that is left.

    The browser sends a rank only if it shrinks its layer; anything else is marked there.

    Attributes:
        ranks: by layer name; changes when a person edits a row.

    Example:
        >>> table = RankTable()
        >>> table.set_layers((LayerCount("fc", 8, 8, True, 1, 4),), {"fc": 2})
        >>> table.ranks, table.rows[0]["largest"]
        ({'fc': 2}, 3)
    """

    ranks: "traitlets.Dict[str, int]" = traitlets.Dict()

    def __init__(self) -> None:
        super().__init__(
            _COLUMNS,
            label="rank of every layer",
            height="262px",
            selectable=False,
            browsable=False,
        )
        self.layout.max_width = "720px"
        self.add_class("pclora-ranks")
        self.observe(self._read_ranks, "rows")
        self.observe(self._show_ranks, "ranks")

    def set_layers(self, layers: tuple[LayerCount, ...], ranks: Mapping[str, int]) -> None:
        """Show other layers.

        Args:
            layers: of a trace.
            ranks: by layer name.
        """
        self.rows = [_row(layer, ranks[layer.name]) for layer in layers]

    def _read_ranks(self, _: object) -> None:
        self.ranks = {row["id"]: row["rank"] for row in self.rows}

    def _show_ranks(self, _: object) -> None:
        self.rows = [{**row, "rank": self.ranks.get(row["id"], row["rank"])} for row in self.rows]


def _row(layer: LayerCount, rank: int) -> dict[str, Any]:
    return {
        "id": layer.name,
        "layer": layer.name,
        "shape": f"{layer.in_features}→{layer.out_features}",
        "even": layer.break_even_rank,
        "largest": layer.largest_rank,
        "rank": rank,
        "left": (layer.low_rank_params(1) - layer.low_rank_params(0)) / layer.params,
        "fixed": layer.low_rank_params(0) / layer.params,
    }
