"""Several runs drawn over each other in one figure."""

from collections.abc import Sequence

import ipywidgets as widgets

from pclora_lab.plots.overlay import fill_overlay, overlay_figure
from pclora_lab.runs.reader import Run
from pclora_lab.ui.widgets.chart import Chart

__all__ = ["OverlayPanel"]


class OverlayPanel:
    """One chart that is filled anew; hidden until something is drawn.

    Attributes:
        names: folders of the runs that are drawn.
        chart: the runs over each other.
        widget: to display.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.chart = Chart(overlay_figure(), label="curves of the selected runs")
        self.widget = widgets.VBox([self.chart])
        self.widget.layout.display = "none"

    def draw(self, names: tuple[str, ...], runs: Sequence[Run]) -> None:
        """Draw other runs."""
        self.names = names
        self._fill(runs)

    def update(self, runs: Sequence[Run]) -> None:
        """Draw the same runs as they are now; nothing where none were drawn."""
        if self.names:
            self._fill(runs)

    def _fill(self, runs: Sequence[Run]) -> None:
        with self.chart.changing() as figure:
            fill_overlay(figure, runs)
        self.widget.layout.display = "" if runs else "none"

    def rename(self, old: str, new: str) -> None:
        """Know a run by its new name."""
        self.names = tuple(new if name == old else name for name in self.names)
