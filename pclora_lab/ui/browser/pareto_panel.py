"""A task's metric over size in a figure whose points open their runs."""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

import ipywidgets as widgets

from pclora_lab.plots.pareto_runs import AXES, fill_pareto, pareto_runs_figure
from pclora_lab.runs.reader import Run
from pclora_lab.runs.result_columns import finite
from pclora_lab.tasks.registry import metrics_of
from pclora_lab.ui.browser.table_rows import group_of
from pclora_lab.ui.widgets.chart import Chart, Click

__all__ = ["ParetoPanel"]


class ParetoPanel:
    """A button that shows the plot, the choice of what is in it, and the plot.

    Args:
        on_click: called with the name of the run folder whose point was clicked.
        show_errors: runs an action and shows its error.

    Attributes:
        button: shows or hides the plot.
        widget: choice and plot.
        chart: a point per run.
    """

    def __init__(
        self, on_click: Callable[[str], None], show_errors: Callable[[Callable[[], Any]], None]
    ) -> None:
        self._on_click = on_click
        self._runs: list[Run] = []
        self.chart = Chart(pareto_runs_figure(), label="finished runs over their size")
        self.chart.on_click(self._clicked)
        self.button = widgets.ToggleButton(
            description="Pareto plot",
            icon="dot-circle-o",
            tooltip="what the task measures over size, a point per finished run; a click opens it",
            layout=widgets.Layout(width="auto"),
        )
        wide = {"layout": widgets.Layout(width="340px"), "style": {"description_width": "60px"}}
        tip = "runs of other tasks, models, data or splits can't be compared"
        self.group = widgets.Dropdown(description="runs of", tooltip=tip, **wide)
        tip = "what the metric is set against"
        self.axis = widgets.Dropdown(options=list(AXES), description="over", tooltip=tip, **wide)
        for control in (self.button, self.group, self.axis):
            control.observe(lambda _: show_errors(self._draw), "value")
        self.widget = widgets.VBox([widgets.HBox([self.group, self.axis]), self.chart])
        self.widget.layout.display = "none"
        self.widget.add_class("pclora-runs-pareto")

    def show(self, runs: Sequence[Run]) -> None:
        """Take over the runs that were measured; the group that is shown stays if it can."""
        self._runs = list(compress(runs, map(_is_measured, runs)))
        groups = list(dict.fromkeys(map(group_of, self._runs)))
        if list(self.group.options) != groups:
            before = self.group.value
            self.group.options = groups
            self.group.value = before if before in groups else next(iter(groups), None)
        self._draw()

    def _draw(self) -> None:
        self.widget.layout.display = "" if self.button.value else "none"
        if not self.button.value:
            return
        shown = [run for run in self._runs if group_of(run) == self.group.value]
        with self.chart.changing() as figure:
            fill_pareto(figure, shown, self.axis.value)

    def _clicked(self, click: Click) -> None:
        names = self.chart.figure.data[click["curve"]].customdata
        if names is not None and click["point"] < len(names):  # the front has none
            self._on_click(str(names[click["point"]]))


def _is_measured(run: Run) -> bool:
    result = run.result or {}
    return finite(result.get(metrics_of(result)[0].key)) is not None
