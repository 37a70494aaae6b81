"""One run in four panels: fade, accuracy, loss, size; as a picture.

:mod:`pclora_lab.plots.live` draws the same curves (:mod:`pclora_lab.plots.curves`) while the run
goes on. Line styles differ too, for readers who see no colors.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pclora_lab.methods.metrics import Panel
from pclora_lab.plots.curves import (
    PANELS,
    Y_TITLES,
    accuracy_title,
    curves,
    first_panel,
    history_curves,
    is_share,
    score_axis,
    with_scores,
)
from pclora_lab.plots.figure import NotebookFigure
from pclora_lab.plots.theme import in_theme, themed
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric

__all__ = ["history_figure"]


@themed
def history_figure(
    rows: Iterable[Mapping[str, Any]], title: str = "", metric: TaskMetric = ACCURACY
) -> NotebookFigure:
    """The four panels of the lab as a matplotlib figure.

    Args:
        rows: the history.
        title: above the panels.
        metric: of the run's task.
    """
    rows = list(with_scores(rows, metric))
    was_taught = any(row.get("phase") == "teacher" for row in rows)
    step_title = "step (the teacher's are negative)" if was_taught else "step"
    figure = NotebookFigure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    twin = axes[Panel.COST].twinx()
    for curve, (x, y) in zip(history_curves(), curves(rows), strict=True):
        if len(x):
            axis = twin if curve.secondary else axes[curve.panel]
            style = {"solid": "-", "dash": "--", "dot": ":"}[curve.dash]
            axis.plot(x, y, style, color=in_theme(curve.color), label=curve.name, linewidth=2)
    titles = PANELS | {
        Panel.PROGRESS: first_panel({name for row in rows for name in row}),
        Panel.ACCURACY: accuracy_title(rows, metric),
    }
    for panel, axis in zip(Panel, axes, strict=True):
        axis.set(title=titles[panel], xlabel=step_title, ylabel=Y_TITLES[panel])
        axis.grid()
    axes[Panel.ACCURACY].set_ylabel(score_axis(metric))
    if is_share(metric):
        axes[Panel.ACCURACY].yaxis.set_major_formatter("{x:.0%}")
    axes[Panel.LOSS].set_yscale("log")
    axes[Panel.COST].set_ylim(bottom=0)
    twin.set(ylabel="time per step (ms)", ylim=(0, None))
    for panel, axis in zip(Panel, axes, strict=True):
        shown = [axis, twin] if panel == Panel.COST else [axis]
        # A run that ended before its first evaluation has panels without a curve.
        if handles := [handle for part in shown for handle in part.get_legend_handles_labels()[0]]:
            axis.legend(handles=handles, fontsize=9)
    if title:
        figure.suptitle(title)
    return figure
