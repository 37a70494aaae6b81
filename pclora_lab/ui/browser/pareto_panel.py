"""Accuracy over size in a figure whose points open their runs."""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from pclora_lab.plots.pareto_runs import AXES, fill_pareto, pareto_runs_figure
from pclora_lab.runs.reader import Run
from pclora_lab.runs.result_columns import finite
from pclora_lab.ui.browser.table_rows import group_of
from pclora_lab.ui.widgets.page import responsive

__all__ = ["ParetoPanel"]


class ParetoPanel:
    """A button that shows the plot, the choice of what is in it, and the plot.

    Args:
        on_click: called with the name of the run folder whose point was clicked.
        show_errors: runs an action and shows its error.

    Attributes:
        button: shows or hides the plot.
        widget: choice and plot.
        figure: made when it is first wanted, because every figure widget carries megabytes of
            script; None before.
    """

    def __init__(
        self, on_click: Callable[[str], None], show_errors: Callable[[Callable[[], Any]], None]
    ) -> None:
        self._on_click = on_click
        self._runs: list[Run] = []
        self.figure: go.FigureWidget | None = None
        self.button = widgets.ToggleButton(
            description="Pareto plot",
            icon="dot-circle-o",
            tooltip="accuracy over size, a point per finished run; a click opens the run",
            layout=widgets.Layout(width="auto"),
        )
        wide = {"layout": widgets.Layout(width="340px"), "style": {"description_width": "60px"}}
        tip = "accuracies on other models, data or splits can't be compared"
        self.group = widgets.Dropdown(description="runs of", tooltip=tip, **wide)
        tip = "what the accuracy is set against"
        self.axis = widgets.Dropdown(options=list(AXES), description="over", tooltip=tip, **wide)
        for control in (self.button, self.group, self.axis):
            control.observe(lambda _: show_errors(self._draw), "value")
        self.widget = widgets.VBox([widgets.HBox([self.group, self.axis])])
        self.widget.layout.display = "none"
        self.widget.add_class("pclora-runs-pareto")

    def show(self, runs: Sequence[Run]) -> None:
        """Take over the runs that have an accuracy; the group that is shown stays if it can."""
        measured = (finite((run.result or {}).get("accuracy")) is not None for run in runs)
        self._runs = list(compress(runs, measured))
        groups = list(dict.fromkeys(map(group_of, self._runs)))
        if list(self.group.options) != groups:
            before = self.group.value
            self.group.options = groups
            self.group.value = before if before in groups else next(iter(groups), None)
        self._draw()

    def forget_figure(self) -> None:
        """Make another one when it is wanted."""
        if self.figure is not None:
            self.figure, self.widget.children = None, self.widget.children[:1]
            self._draw()

    def _draw(self) -> None:
        self.widget.layout.display = "" if self.button.value else "none"
        if not self.button.value:
            return
        if self.figure is None:
            self.figure = responsive(pareto_runs_figure())
            for trace in self.figure.data[1:]:
                trace.on_click(self._clicked)
            self.widget.children = (*self.widget.children, self.figure)
        shown = [run for run in self._runs if group_of(run) == self.group.value]
        fill_pareto(self.figure, shown, self.axis.value)

    def _clicked(self, trace: Any, points: Any, _: Any) -> None:
        if points.point_inds:
            self._on_click(str(trace.customdata[points.point_inds[0]]))
