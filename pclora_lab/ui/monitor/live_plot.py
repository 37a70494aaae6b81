"""One plotly figure with four panels that follows a run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pclora_lab.methods.metrics import Metric, Panel
from pclora_lab.plots.curves import (
    accuracy_title,
    curves,
    first_panel,
    history_curves,
    is_shown,
)
from pclora_lab.plots.history import NARROW, live_figure
from pclora_lab.plots.theme import apply_theme
from pclora_lab.ui.widgets.chart import Chart

__all__ = ["LiveView"]


class LiveView:
    """A chart that is made once and then only fed.

    Attributes:
        chart: to display.
    """

    def __init__(self) -> None:
        label = "curves of the run, in four panels"
        self.chart = Chart(apply_theme(live_figure()), label, NARROW)
        self._drawn, self._run = 0, 0

    def clear(self, steps: int, metrics: Sequence[Metric] = ()) -> None:
        """Empty all panels for a new run, fit the axes to its steps, keep the curves it has.

        Args:
            steps: optimizer steps of the method.
            metrics: what the method reports.
        """
        figure = self.chart.figure
        figure.layout.annotations[0].text = first_panel(metric.key for metric in metrics)
        for trace, curve in zip(figure.data, history_curves(), strict=True):
            trace.visible = is_shown(curve, metrics)
        # Another run: what was zoomed or hidden in the last one is forgotten.
        self._run += 1
        figure.layout.uirevision = f"run {self._run}"
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
        with self.chart.changing() as figure:
            for trace, (x, y) in zip(figure.data, points, strict=True):
                trace.x, trace.y = x, y
            title = "step (the teacher's are negative)" if first < 0 else "step"
            figure.update_xaxes(range=[first, steps], title_text=title)
            figure.layout.annotations[Panel.ACCURACY].text = accuracy_title(rows)
