"""One run in four panels: fade, accuracy, loss, size; in plotly and in matplotlib.

Both draw the same curves (:mod:`pclora_lab.plots.curves`) in the colors of
:mod:`pclora_lab.plots.theme`; line styles differ too, for readers who see no colors.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pclora_lab.plots.curves import CURVES, PANELS, Y_TITLES, curves, first_panel
from pclora_lab.plots.figure import NotebookFigure
from pclora_lab.plots.theme import in_theme, plotly_template, themed

__all__ = ["history_figure", "live_figure"]

MEASURED_NOW_AND_THEN = ("accuracy", "accuracy_if_base_removed", "base_share")


@themed
def history_figure(rows: Iterable[Mapping[str, Any]], title: str = "") -> NotebookFigure:
    """The four panels of the lab as a matplotlib figure."""
    rows = list(rows)
    was_taught = any(row["phase"] == "teacher" for row in rows)
    step_title = "step (the teacher's are negative)" if was_taught else "step"
    figure = NotebookFigure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    twin = axes[3].twinx()
    for curve, (x, y) in zip(CURVES, curves(rows), strict=True):
        if len(x):
            axis = twin if curve.secondary else axes[curve.panel]
            style = {"solid": "-", "dash": "--", "dot": ":"}[curve.dash]
            axis.plot(x, y, style, color=in_theme(curve.color), label=curve.name, linewidth=2)
    panels = (first_panel({name for row in rows for name in row}), *PANELS[1:])
    for axis, panel, y_title in zip(axes, panels, Y_TITLES, strict=True):
        axis.set(title=panel, xlabel=step_title, ylabel=y_title)
        axis.grid()
    axes[2].set_yscale("log")
    axes[3].set_ylim(bottom=0)
    twin.set(ylabel="time per step (ms)", ylim=(0, None))
    for shown in ([axes[0]], [axes[1]], [axes[2]], [axes[3], twin]):
        # A run that ended before its first evaluation has panels without a curve.
        if handles := [handle for axis in shown for handle in axis.get_legend_handles_labels()[0]]:
            shown[0].legend(handles=handles, fontsize=9)
    if title:
        figure.suptitle(title)
    return figure


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
                line={"color": curve.color, "dash": curve.dash, "width": 2},
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
