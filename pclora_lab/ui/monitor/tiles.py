"""Four large numbers of the run that is shown: its task's metric, size, speed, λ."""

import html
from collections.abc import Iterable, Mapping
from typing import Any

import ipywidgets as widgets

from pclora_lab.nn.sizes import Plan
from pclora_lab.runs.estimates.accuracy import AccuracyEstimate
from pclora_lab.runs.result_columns import finite, latency_examples
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.tasks.registry import metrics_of
from pclora_lab.ui.monitor.lambda_slider import LambdaSlider

__all__ = ["Tiles"]

_UNKNOWN = "–"


class Tiles:
    """Three numbers and λ's slider.

    Args:
        lambda_slider: λ by hand.

    Attributes:
        accuracy: or whatever the task's metric is, of the student, beside its teacher's.
        size: parameters removed, by both counts.
        speed: how much faster, as measured at the end.
        widget: to display.
    """

    def __init__(self, lambda_slider: LambdaSlider) -> None:
        self.accuracy, self.size, self.speed = (widgets.HTML() for _ in range(3))
        children = [self.accuracy, self.size, self.speed, lambda_slider.widget]
        for child in children:
            child.add_class("pclora-tile")
        self.widget = widgets.Box(children)
        self.widget.add_class("pclora-tiles")
        self.clear()

    def clear(self, planned: Plan | None = None) -> None:
        """Nothing is measured yet.

        Args:
            planned: the sizes that the run's settings give, where they are known.
        """
        self.clear_results()
        self.show_plan(planned)

    def clear_results(self) -> None:
        """No accuracy and no speed yet."""
        self.accuracy.value = _tile(_UNKNOWN, "score: not measured yet")
        self.speed.value = _tile(_UNKNOWN, "speed: measured at the end")

    def show_forecast(self, found: AccuracyEstimate | None, speedup: float | None) -> None:
        """What finished runs let one expect before anything is trained.

        Args:
            found: accuracy; None where no run is like the one that is chosen.
            speedup: dense latency by compressed latency; None where no run of the size was here.
        """
        self.clear_results()
        if found is not None and found.mean is not None:
            runs = "1 earlier run tells" if found.seeds == 1 else f"{found.seeds} earlier runs tell"
            number = f"≈ {found.metric.roughly(found.mean)}"
            if found.std is not None:
                number += f" <em>± {found.metric.number(found.std)}</em>"
            self.accuracy.value = _tile(number, f"expected, as {runs}")
        if speedup is not None:
            number, what = _speed(speedup)
            self.speed.value = _tile(f"≈ {number}", f"{what}, as a run of this size was here")

    def show_plan(self, planned: Plan | None) -> None:
        """Sizes before anything is trained."""
        if planned is None:
            self.size.value = _tile(_UNKNOWN, "parameters removed: known at the end")
        else:
            self._show_size(planned.replaced.params_removed, planned.whole_model.params_removed)

    def update(self, rows: Iterable[Mapping[str, Any]], metric: TaskMetric = ACCURACY) -> None:
        """The newest readings of a history.

        Args:
            rows: of the run.
            metric: of its task.
        """
        rows = [row for row in rows if finite(row.get(metric.key)) is not None]
        if not rows:
            return
        row = rows[-1]
        while_teaching = row.get("phase") == "teacher"
        teacher = None if while_teaching else finite(row.get(metric.of_teacher))
        what = "teacher, while it is fine-tuned" if while_teaching else f"validation {metric.label}"
        self._show_score(metric, row[metric.key], teacher, what)

    def show_result(self, result: Mapping[str, Any]) -> None:
        """The final numbers; what was not measured keeps its dash."""
        metric = metrics_of(result)[0]
        score = finite(result.get(metric.key))
        if score is not None:
            split = result.get("report_on", "test")
            teacher = finite(result.get(metric.of_teacher))
            self._show_score(metric, score, teacher, f"{split} {metric.label}")
        whole = finite(result.get("params_removed_whole"))
        if whole is not None:
            self._show_size(finite(result.get("params_removed_replaced")), whole)
        self._show_speed(result)

    def _show_score(
        self, metric: TaskMetric, score: float, teacher: float | None, what: str
    ) -> None:
        # Another package's label is a text like a user's.
        number, what = html.escape(metric.roughly(score)), html.escape(what)
        if teacher is None:
            self.accuracy.value = _tile(number, what)
            return
        gap = metric.number(score - teacher)
        sign = "" if gap.startswith("-") else "+"
        text = f"{number} <em>{sign}{gap}</em>".replace("-", "−")
        beside = html.escape(metric.roughly(teacher))
        self.accuracy.value = _tile(text, f"{what} · teacher {beside}")

    def _show_size(self, replaced: float | None, whole: float) -> None:
        if replaced is None:
            self.size.value = _tile(_minus(whole), "of all parameters")
        else:
            self.size.value = _tile(_minus(replaced), f"of the layers, {_minus(whole)} in all")

    def _show_speed(self, result: Mapping[str, Any]) -> None:
        before, after = (finite(result.get(f"latency_ms_{when}")) for when in ("before", "after"))
        if not before or not after:
            return
        number, what = _speed(before / after)
        text = f"{what} · {before:.3g} → {after:.3g} ms"
        count = latency_examples(result)
        self.speed.value = _tile(number, text if count is None else f"{text} for {count} examples")


def _speed(times: float) -> tuple[str, str]:
    """A ratio of latencies, dense by compressed, as a number of at least one and a word."""
    return (f"{times:.1f}×", "faster") if times >= 1 else (f"{1 / times:.1f}×", "slower")


def _tile(number: str, text: str) -> str:
    """Both are made of numbers and of names of splits, which are not a user's text."""
    return f"<b>{number}</b><small>{text}</small>"


def _minus(share: float) -> str:
    return f"−{share:.1%}" if share > 0 else f"{-share:+.1%}"
