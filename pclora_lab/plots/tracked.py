"""The figures of a finished run that a tracker gets."""

from pathlib import Path

from pclora_lab.plots.figure import NotebookFigure
from pclora_lab.plots.history import history_figure
from pclora_lab.plots.layers import LAYER_METRICS, layer_heatmap
from pclora_lab.runs.reader import load_run
from pclora_lab.tasks.registry import metrics_of

__all__ = ["tracked_figures"]


def tracked_figures(folder: Path) -> dict[str, NotebookFigure]:
    """The curves, and a heatmap of each layer metric that the run has measured.

    Args:
        folder: of the run.
    """
    run = load_run(folder)
    rows, metric = run.rows, metrics_of(run.result or run.config)[0]
    measured = [column for column in LAYER_METRICS if any(row.get(column) for row in rows)]
    heatmaps = {f"figures/{column}": layer_heatmap(rows, column) for column in measured}
    return {"figures/curves": history_figure(rows, metric=metric), **heatmaps}
