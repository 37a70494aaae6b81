"""The four panels of a run as a plotly figure, without curves."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pclora_lab.methods.metrics import Panel
from pclora_lab.plots.curves import Y_TITLES

__all__ = ["cell_of", "four_panels", "in_one_column", "style_axes"]

# Room for a legend of three lines, in pixels.
_LEGEND = 52


def four_panels(titles: Sequence[str], horizontal_gap: float, vertical_gap: float) -> go.Figure:
    """Two by two subplots, the last with a second y axis; gaps are shares of the figure."""
    return make_subplots(
        rows=2,
        cols=2,
        subplot_titles=titles,
        specs=[[{}, {}], [{}, {"secondary_y": True}]],
        horizontal_spacing=horizontal_gap,
        vertical_spacing=vertical_gap,
    )


def _axes(panel: int) -> str:
    """What plotly puts behind ``xaxis``, ``yaxis`` and ``legend`` of a panel."""
    return str(panel + 1) if panel else ""


def in_one_column(panels: int, height: int, gap: float, *, legends: bool = True) -> dict[str, Any]:
    """The same panels below each other: what differs in the layout, for a page without room.

    Args:
        panels: how many.
        height: of the figure in pixels.
        gap: between two panels, a share of the height.
        legends: whether each has a legend above it.
    """
    each = (1 - gap * (panels - 1)) / panels
    layout: dict[str, Any] = {"height": height, "annotations": []}
    if legends:
        layout["margin"] = {"t": 90}
    for panel in range(panels):
        number, top = _axes(panel), 1 - panel * (each + gap)
        layout[f"xaxis{number}"] = {"domain": [0, 1]}
        layout[f"yaxis{number}"] = {"domain": [top - each, top]}
        layout["annotations"].append({"x": 0.5, "y": top})
        if legends:
            layout[f"legend{number}"] = {"x": 0, "xanchor": "left", "y": top}
            layout["annotations"][-1]["yshift"] = _LEGEND
    return layout


def cell_of(panel: Panel) -> dict[str, int]:
    """Row and column, as plotly counts them."""
    return {"row": panel // 2 + 1, "col": panel % 2 + 1}


def style_axes(figure: go.Figure) -> None:
    """Titles and ranges of every axis."""
    for panel, title in Y_TITLES.items():
        figure.update_xaxes(title_text="step", **cell_of(panel))
        figure.update_yaxes(title_text=title, **cell_of(panel))
    figure.update_yaxes(range=[-0.02, 1.05], **cell_of(Panel.PROGRESS))
    accuracy = {"range": [0, 1.02], "tickformat": ".0%", "hoverformat": ".1%"}
    figure.update_yaxes(**accuracy, **cell_of(Panel.ACCURACY))
    figure.update_yaxes(type="log", exponentformat="power", dtick=1, **cell_of(Panel.LOSS))
    figure.update_yaxes(rangemode="tozero", **cell_of(Panel.COST))
    figure.update_yaxes(
        title_text="time per step (ms)",
        rangemode="tozero",
        tickmode="auto",
        showgrid=False,
        secondary_y=True,
        **cell_of(Panel.COST),
    )
