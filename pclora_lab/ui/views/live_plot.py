"""The charts that follow a run: the story, and three small panels below it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from pclora_lab.methods.metrics import Metric
from pclora_lab.plots.curves import (
    Curve,
    accuracy_title,
    is_shown,
    points_of,
    score_ticks,
    with_scores,
)
from pclora_lab.plots.live import (
    NARROW_PANELS,
    NARROW_STORY,
    held_shapes,
    panel_titles,
    panels_figure,
    small_curves,
    story_curves,
    story_figure,
)
from pclora_lab.plots.run_axis import BY_HAND, held_spans, with_held
from pclora_lab.plots.theme import apply_theme
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.ui.widgets.chart import Chart
from pclora_lab.ui.widgets.run_axis import RunAxis

__all__ = ["LiveView"]


class LiveView:
    """Two charts that are made once and then only fed.

    Args:
        beside: stands on the left of the story, if given.
        slider: of the timeline, which is a cursor through all panels.

    Attributes:
        axis: steps or time, for all panels.
        story: λ and the accuracies.
        panels: how much of the base is left, the losses, and what a step costs.
        widget: to display.
    """

    def __init__(
        self, beside: widgets.Widget | None = None, slider: widgets.IntSlider | None = None
    ) -> None:
        self.axis = RunAxis(slider)
        self.story = Chart(
            apply_theme(story_figure()), "scores while the base fades", NARROW_STORY,
            narrow_below=420, axis=self.axis, chooses_axis=True,
        )  # fmt: skip
        self.panels = Chart(
            apply_theme(panels_figure()), "base, losses and cost of a step", NARROW_PANELS,
            narrow_below=560, axis=self.axis,
        )  # fmt: skip
        self._clear_legend(self.story.figure)
        self._drawn, self._run, self._score = 0, 0, ACCURACY
        self._columns: tuple[str, ...] = ()
        self._named: tuple[Curve, ...] = ()
        row = widgets.Box([self.story] if beside is None else [beside, self.story])
        row.add_class("pclora-live")
        if beside is not None:
            row.add_class("pclora-has-layer")
        self.widget = widgets.VBox([row, self.panels])
        self.widget.add_class("pclora-live-charts")

    @property
    def charts(self) -> tuple[Chart, Chart]:
        """Both, from top to bottom."""
        return self.story, self.panels

    def clear(
        self, steps: int, metrics: Sequence[Metric] = (), score: TaskMetric = ACCURACY
    ) -> None:
        """Empty all panels for a new run, fit the axes to its steps, keep the curves it has.

        Args:
            steps: optimizer steps of the method.
            metrics: what the method reports.
            score: what its task measures.
        """
        self._score = score
        with self.story.changing() as figure:
            figure.layout.yaxis.update(**score_ticks(score))
        self._columns = tuple(metric.key for metric in metrics)
        # Another run: what was zoomed or hidden in the last one is forgotten.
        self._run += 1
        for chart, drawn in self._drawn_curves():
            chart.figure.layout.uirevision = f"run {self._run}"
            for trace, curve in zip(chart.figure.data, drawn, strict=True):
                is_hand = curve.column == BY_HAND and "lam" in self._columns
                trace.visible = is_hand or is_shown(curve, metrics)
        self._named = ()
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

    def fit_theme(self, dark: bool) -> None:
        """Draw for a light page or a dark one."""
        for chart in self.charts:
            with chart.changing() as figure:
                apply_theme(figure, dark)
                if chart is self.panels:
                    self._title_panels(figure, dark)
                else:
                    self._clear_legend(figure)

    @staticmethod
    def _clear_legend(figure: go.Figure) -> None:
        """It covers nothing, so that it needs no page of its own behind it."""
        figure.layout.legend.bgcolor = "rgba(0,0,0,0)"

    def _drawn_curves(self) -> tuple[tuple[Chart, tuple[Curve, ...]], ...]:
        return (self.story, story_curves()), (self.panels, small_curves())

    def _title_panels(self, figure: go.Figure, dark: bool | None = None) -> None:
        titles = panel_titles(self._named, self._columns, dark)
        for annotation, title in zip(figure.layout.annotations, titles, strict=True):
            annotation.text = title

    def _draw(self, rows: tuple[Mapping[str, Any], ...], steps: int) -> None:
        self._drawn = len(rows)
        self.axis.show(rows, steps)
        held, rows = held_spans(rows), tuple(with_scores(with_held(rows), self._score))
        parts = [(*part, points_of(rows, part[1])) for part in self._drawn_curves()]
        first = min((x[0] for _, _, points in parts for x, _ in points if len(x)), default=0)
        for chart, drawn, points in parts:
            with chart.changing() as figure:
                for trace, (x, y) in zip(figure.data, points, strict=True):
                    trace.x, trace.y = x, y
                title = "step (the teacher's are negative)" if first < 0 else "step"
                figure.update_xaxes(range=[first, steps], title_text=title)
                if chart is self.story:
                    figure.layout.title.text = accuracy_title(rows, self._score)
                    figure.layout.shapes = held_shapes(held)
                else:
                    pairs = zip(drawn, points, strict=True)
                    self._name(figure, [curve for curve, (x, _) in pairs if len(x)])

    def _name(self, figure: go.Figure, there: Sequence[Curve]) -> None:
        """Say which line is what, of those that are there."""
        if tuple(there) != self._named or not there:
            self._named = tuple(there)
            self._title_panels(figure)
