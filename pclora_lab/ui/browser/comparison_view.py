"""A comparison that is watched in a notebook: a bar over the whole grid, and the figure so far."""

import time

import ipywidgets as widgets
import pandas as pd
from IPython.display import display

from pclora_lab.plots.pareto import pareto_figure
from pclora_lab.runs.comparison import Comparison, Step

__all__ = ["ComparisonView", "watch"]

_SECONDS_BETWEEN_UPDATES = 0.5


_SECONDS_BETWEEN_FRAMES = 3.0


class ComparisonView(widgets.VBox):
    """Made once, then fed with steps."""

    def __init__(self) -> None:
        self.bar = widgets.FloatProgress(max=1.0, layout={"width": "320px"})
        self.text = widgets.Label("starting")
        self.picture = widgets.Image(format="png", layout={"max_width": "100%"})
        self._began, self._updated, self._drawn = time.monotonic(), 0.0, 0.0
        self._found = 0
        super().__init__([widgets.HBox([self.bar, self.text]), self.picture])
        self.add_class("pclora-comparison")

    def update(self, comparison: Comparison, step: Step) -> None:
        """Move the bar; now and then, when a run has ended, redraw the figure."""
        now = time.monotonic()
        if step.was_there:
            self._found += step.cell.steps  # it cost no time
        if step.ends_cell and now - self._drawn > _SECONDS_BETWEEN_FRAMES:
            self.draw(comparison)
            self._drawn = now
        if now - self._updated > _SECONDS_BETWEEN_UPDATES:
            self._updated, self.bar.value = now, step.done / step.total
            each = (now - self._began) / max(step.done - self._found, 1)
            left = f"{each * (step.total - step.done):.0f} s left"
            self.text.value = f"{step.text}: {step.done} of {step.total} steps, {left}"

    def draw(self, comparison: Comparison) -> None:
        """The figure of what is there; nothing before the first run has ended."""
        score = comparison.task.ranking.key
        rows = [row for row in comparison.rows() if row[score] is not None]
        if rows:
            self.picture.value = pareto_figure(rows).png(scale=1.0)


def watch(comparison: Comparison) -> pd.DataFrame:
    """Run a comparison to its end under a bar with the time left, and a figure that grows.

    An interrupt loses the run under way only: called again, it goes on where it was.

    Returns:
        One row per method, budget and seed, as :func:`pclora_lab.compare` gives it.
    """
    view = ComparisonView()
    display(view)
    for step in comparison.run():
        view.update(comparison, step)
    view.draw(comparison)
    view.bar.value = 1.0
    view.text.value = f"finished: {comparison.out}"
    return pd.DataFrame(comparison.rows())
