"""The figures of a finished run that a tracker gets."""

from pathlib import Path

from pclora_lab.plots.figure import NotebookFigure
from pclora_lab.plots.history import history_figure
from pclora_lab.plots.layers import LAYER_METRICS, layer_heatmap
from pclora_lab.runs.reader import load_run

__all__ = ["tracked_figures"]


def tracked_figures(folder: Path) -> dict[str, NotebookFigure]:
    """The curves, and a heatmap of each layer metric that the run has measured.

    Args:
        folder: of the run.
    """
    rows = load_run(folder).rows
    measured = [column for column in LAYER_METRICS if any(row.get(column) for row in rows)]
    heatmaps = {f"figures/{column}": layer_heatmap(rows, column) for column in measured}
    return {"figures/curves": history_figure(rows), **heatmaps}
