"""One plotly figure with four panels that follows a run."""

from collections.abc import Iterable, Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pclora_lab.plots import COMMON, CURVES, PANELS, Y_TITLES, curves, first_panel
from pclora_lab.theme import apply_theme, plotly_template
from pclora_lab.ui.page import responsive

__all__ = ["LiveView", "live_figure"]

MEASURED_NOW_AND_THEN = ("accuracy", "accuracy_if_base_removed", "base_share")


def live_figure(rows: Iterable[Mapping[str, Any]] = ()) -> go.Figure:
    """The four panels as a plain plotly figure (no widget): fade, accuracy, loss, size."""
    figure = make_subplots(
        rows=2,
        cols=2,
        subplot_titles=PANELS,
        specs=[[{}, {}], [{}, {"secondary_y": True}]],
        horizontal_spacing=0.09,
        vertical_spacing=0.16,
    )
    for curve, (x, y) in zip(CURVES, curves(rows), strict=True):
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                name=curve.name,
                mode="lines+markers" if curve.column in MEASURED_NOW_AND_THEN else "lines",
                marker={"size": 4},
                line={"color": curve.colour, "dash": curve.dash, "width": 2},
                legend=f"legend{curve.panel + 1}" if curve.panel else "legend",
            ),
            row=curve.panel // 2 + 1,
            col=curve.panel % 2 + 1,
            secondary_y=curve.secondary if curve.panel == 3 else None,
        )
    return _style(figure)


def _style(figure: go.Figure) -> go.Figure:
    figure.update_layout(
        template=plotly_template(),
        height=640,
        autosize=True,
        margin={"l": 60, "r": 60, "t": 40, "b": 45, "autoexpand": False},
        hovermode="x",
    )
    for panel, y_title in enumerate(Y_TITLES):
        row, col = panel // 2 + 1, panel % 2 + 1
        figure.update_xaxes(title_text="step", row=row, col=col)
        figure.update_yaxes(title_text=y_title, row=row, col=col)
        name = f"legend{panel + 1}" if panel else "legend"
        # Where the curves rarely are: top right for what falls, bottom right for accuracy, bottom
        # left for the size, which is large at first.
        axis = str(panel + 1) if panel else ""
        left, right = figure.layout[f"xaxis{axis}"].domain
        bottom, top = figure.layout[f"yaxis{axis}"].domain
        x, side = (left + 0.005, "left") if panel == 3 else (right, "right")
        y, anchor = (bottom + 0.01, "bottom") if panel in (1, 3) else (top - 0.005, "top")
        place = {"x": x, "xanchor": side, "y": y, "yanchor": anchor}
        figure.update_layout({name: {"font": {"size": 11}, **place}})
    figure.update_yaxes(range=[-0.02, 1.05], row=1, col=1)
    figure.update_yaxes(range=[0, 1.02], row=1, col=2)
    figure.update_yaxes(type="log", exponentformat="power", dtick=1, row=2, col=1)
    figure.update_yaxes(rangemode="tozero", row=2, col=2)
    figure.update_yaxes(
        title_text="time per step (ms)",
        rangemode="tozero",
        tickmode="auto",
        showgrid=False,
        row=2,
        col=2,
        secondary_y=True,
    )
    return figure


class LiveView:
    """A figure widget that is made once and then only fed.

    Attributes:
        figure: the plotly ``FigureWidget`` to display.
    """

    def __init__(self) -> None:
        self.figure = apply_theme(responsive(live_figure()))
        self._drawn = 0

    def clear(self, steps: int, reports: Iterable[str] = ("lam",)) -> None:
        """Empty all panels for a new run, fit the axes to its steps, keep the curves it has.

        Args:
            steps: optimiser steps of the method.
            reports: columns that the method reports.
        """
        shown = {*reports, *COMMON}
        with self.figure.batch_update():
            self.figure.layout.annotations[0].text = first_panel(reports)
            for trace, curve in zip(self.figure.data, CURVES, strict=True):
                trace.visible = curve.column in shown
        self._draw((), steps)

    def update(self, rows: Iterable[Mapping[str, Any]], steps: int) -> None:
        """Draw the rows so far; does nothing if there are no new ones.

        Args:
            rows: the history.
            steps: steps of the fade, the right end of every x axis.
        """
        rows = tuple(rows)
        if len(rows) != self._drawn:
            self._draw(rows, steps)

    def _draw(self, rows: tuple[Mapping[str, Any], ...], steps: int) -> None:
        self._drawn = len(rows)
        points = curves(rows)
        first = min((x[0] for x, _ in points if len(x)), default=0)
        with self.figure.batch_update():
            for trace, (x, y) in zip(self.figure.data, points, strict=True):
                trace.x, trace.y = x, y
            title = "step (the teacher's are negative)" if first < 0 else "step"
            self.figure.update_xaxes(range=[first, steps], title_text=title)
