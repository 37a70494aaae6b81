"""A run while it goes on: the chart that tells the story, and three small ones below it.

The story is λ as an area, on an axis of its own, and what the task measures over it; how much of
the base is left, the losses, and what a step costs stand in the small panels. Both are plain plotly
figures without points.
"""

import html
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pclora_lab.methods.metrics import Panel
from pclora_lab.plots.curves import (
    PANELS,
    Curve,
    accuracy_title,
    first_panel,
    history_curves,
)
from pclora_lab.plots.palette import COLORS
from pclora_lab.plots.panels import in_one_column
from pclora_lab.plots.run_axis import BY_HAND
from pclora_lab.plots.theme import in_theme, plotly_template

__all__ = [
    "NARROW_PANELS",
    "NARROW_STORY",
    "SMALL_PANELS",
    "held_shapes",
    "panel_titles",
    "panels_figure",
    "small_curves",
    "story_curves",
    "story_figure",
]

SMALL_PANELS = (Panel.PROGRESS, Panel.LOSS, Panel.COST)
_LAMBDA = Curve(Panel.ACCURACY, "λ", COLORS["base"], "solid", "lam")
_HELD = Curve(Panel.ACCURACY, "λ held by hand", COLORS["task"], "solid", BY_HAND)
_AREA, _HELD_AREA = "rgba(0,114,178,0.16)", "rgba(230,159,0,0.22)"
_STORY_HEIGHT, _PANELS_HEIGHT = 298, 162
# That fit above a small panel, in one line of its key.
_LETTERS = 36
_LINES = {"solid": "━", "dash": "╍", "dot": "┅"}

NARROW_STORY = {"layout": {"height": 360, "margin": {"t": 110}}}
"""What is otherwise in :func:`story_figure` on a narrow page."""

NARROW_PANELS = {"layout": in_one_column(len(SMALL_PANELS), height=780, gap=0.13, legends=False)}
"""What is otherwise in :func:`panels_figure` on a narrow page."""


def story_curves() -> tuple[Curve, ...]:
    """λ, what a hand made of it, and every score that a run of any method can have.

    Example:
        >>> [curve.name for curve in story_curves()][:3]
        ['λ', 'λ held by hand', 'teacher while fine-tuned']
    """
    return (_LAMBDA, _HELD, *(curve for curve in history_curves() if curve.panel == Panel.ACCURACY))


def small_curves() -> tuple[Curve, ...]:
    """The others, in the order of their panels."""
    return tuple(curve for curve in history_curves() if curve.panel != Panel.ACCURACY)


def story_figure() -> go.Figure:
    """What the task measures while the base fades, λ as an area behind it, read on the right."""
    figure = go.Figure()
    for curve in story_curves():
        line = _line(curve)
        if curve in (_LAMBDA, _HELD):
            # Behind the scores, though its axis lies over theirs.
            line.update(yhoverformat=".2f", line={"width": 4}, yaxis="y2", zorder=-1)
        if curve is _LAMBDA:
            line.update(fill="tozeroy", fillcolor=_AREA, line={"width": 0.5})
        figure.add_trace(line)
    figure.update_layout(
        template=plotly_template(),
        height=_STORY_HEIGHT,
        margin={"l": 48, "r": 30, "t": 64, "b": 34, "autoexpand": False},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 11}},
        title={
            "text": accuracy_title(()), "x": 0.005, "xanchor": "left", "y": 0.985,
            "yanchor": "top", "font": {"size": 13},
        },
    )  # fmt: skip
    figure.update_xaxes(title={"text": "step", "standoff": 2, "font": {"size": 11}})
    figure.update_layout(
        yaxis={"range": [0, 1.02], "tickformat": ".0%", "hoverformat": ".1%"},
        yaxis2={
            "overlaying": "y", "side": "right", "range": [0, 1.02], "showgrid": False,
            "tickvals": [0, 0.5, 0.75, 1], "ticktext": ["0", "0.5", "λ", "1"],
            "hoverformat": ".2f", "fixedrange": True, "ticklabelstandoff": 4,
        },
    )  # fmt: skip
    return figure


def held_shapes(spans: Iterable[tuple[int, int]]) -> list[dict[str, Any]]:
    """Shade the story where a hand held λ.

    Args:
        spans: first and last steps, as :func:`pclora_lab.plots.run_axis.held_spans` gives them.

    Returns:
        plotly's ``layout.shapes``; their x are steps.
    """
    area = {"type": "rect", "yref": "y domain", "y0": 0, "y1": 1, "layer": "below"}
    paint = {"fillcolor": _HELD_AREA, "line": {"width": 0}}
    return [{**area, **paint, "x0": first, "x1": last} for first, last in spans]


def panels_figure() -> go.Figure:
    """The three small panels beside each other; the last has a second y axis."""
    figure = make_subplots(
        rows=1,
        cols=len(SMALL_PANELS),
        subplot_titles=panel_titles(()),
        specs=[[{}, {}, {"secondary_y": True}]],
        horizontal_spacing=0.075,
    )
    for curve in small_curves():
        column = SMALL_PANELS.index(curve.panel) + 1
        secondary = curve.secondary if curve.panel == Panel.COST else None
        figure.add_trace(_line(curve), row=1, col=column, secondary_y=secondary)
    figure.update_layout(
        template=plotly_template(),
        height=_PANELS_HEIGHT,
        margin={"l": 48, "r": 48, "t": 56, "b": 30, "autoexpand": False},
        showlegend=False,
    )
    for title in figure.layout.annotations:
        title.font.size, title.yshift = 12, 6  # room for the mark of the timeline's cursor
    _style_axes(figure)
    return figure


def _line(curve: Curve) -> go.Scatter:
    return go.Scatter(
        x=[],
        y=[],
        name=curve.name,
        mode="lines+markers" if curve.markers else "lines",
        marker={"size": 4},
        line={"color": curve.color, "dash": curve.dash, "width": 2},
    )


def _style_axes(figure: go.Figure) -> None:
    progress, loss, cost = ({"row": 1, "col": column + 1} for column in range(len(SMALL_PANELS)))
    figure.update_xaxes(title={"text": "step", "standoff": 2, "font": {"size": 11}}, nticks=5)
    figure.update_yaxes(tickfont={"size": 10.5}, nticks=5)
    figure.update_yaxes(range=[-0.02, 1.05], hoverformat=".3f", **progress)
    figure.update_yaxes(type="log", exponentformat="power", dtick=1, **loss)
    figure.update_yaxes(
        rangemode="tozero", ticksuffix="%", hoverformat=".1f", secondary_y=False, **cost
    )
    figure.update_yaxes(
        rangemode="tozero", ticksuffix=" ms", showgrid=False,
        tickmode="auto", ticklabelstandoff=6, secondary_y=True, **cost,
    )  # fmt: skip


def panel_titles(
    drawn: Iterable[Curve], columns: Iterable[str] = (), dark: bool | None = None
) -> list[str]:
    """Title of each small panel, and below it which line is what.

    Args:
        drawn: the curves that a run has.
        columns: what its method reports, for the title of the first panel.
        dark: which page; None takes the chosen theme's.
    """
    drawn = tuple(drawn)
    titles = {**PANELS, Panel.PROGRESS: first_panel(columns)}
    return [f"<b>{titles[panel]}</b><br>{_key(panel, drawn, dark)}" for panel in SMALL_PANELS]


def _key(panel: Panel, drawn: Sequence[Curve], dark: bool | None) -> str:
    text, used = "", 0
    for curve in (curve for curve in drawn if curve.panel == panel):
        breaks = bool(text) and used + len(curve.name) > _LETTERS
        text += "<br>" if breaks else "  " if text else ""
        text += f"<span style='color:{in_theme(curve.color, dark)}'>{_LINES[curve.dash]}</span>"
        text += f" {html.escape(curve.name)}"
        used = len(curve.name) + (0 if breaks else used)
    return f"<span style='font-size:10.5px'>{text}</span>"
