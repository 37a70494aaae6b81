"""The curves of a history: which column is drawn where, and its points.

What every run has is listed here; the rest comes from the methods' own descriptions, see
:class:`pclora_lab.methods.Metric`. What a task measures is drawn where classification's accuracy
is (:func:`with_scores`), with the task's own name on the axis.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from pclora_lab.methods.metrics import Metric, Panel
from pclora_lab.methods.registry import METHODS
from pclora_lab.plots.palette import COLORS, named_color
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric

__all__ = ["Curve", "accuracy_title", "curves", "first_panel", "history_curves", "is_shown"]
__all__ += ["is_share", "points_of", "score_axis", "score_ticks", "with_scores"]

PANELS = {
    Panel.PROGRESS: "Base-weight fade",
    Panel.ACCURACY: "Accuracy (validation)",
    Panel.LOSS: "Loss terms",
    Panel.COST: "Size and speed",
}
Y_TITLES = {
    Panel.PROGRESS: "share",
    Panel.ACCURACY: "top-1 accuracy",
    Panel.LOSS: "loss (log scale)",
    Panel.COST: "parameters held (% of dense)",
}


@dataclass(frozen=True)
class Curve:
    """One line in one panel.

    Attributes:
        panel: which.
        name: in the legend.
        color: on a light page.
        dash: ``solid``, ``dash`` or ``dot``.
        column: of the history.
        phase: ``fade``, or ``teacher`` for its fine-tuning.
        secondary: on the panel's second axis.
        markers: a mark at every point, for what is measured now and then.
        median_of: width of a running median; 1 draws what was measured.
        panel_title: title of the first panel where this column is reported.
        overlay_dash: its line where runs are drawn over each other; empty leaves it out.
        overlay_hint: what the panel's title says about that line.
    """

    panel: Panel
    name: str
    color: str
    dash: str
    column: str
    phase: str = "fade"
    secondary: bool = False
    markers: bool = False
    median_of: int = 1
    panel_title: str = ""
    overlay_dash: str = ""
    overlay_hint: str = ""


_ACCURACY = (
    Curve(
        Panel.ACCURACY,
        "teacher while fine-tuned",
        COLORS["teacher"],
        "dot",
        "accuracy",
        "teacher",
        markers=True,
    ),
    Curve(Panel.ACCURACY, "teacher", COLORS["teacher"], "dash", "teacher_accuracy"),
    Curve(
        Panel.ACCURACY,
        "student as it is",
        COLORS["base"],
        "solid",
        "accuracy",
        markers=True,
        overlay_dash="solid",
    ),
)
_COST = (
    Curve(
        Panel.COST, "parameters held", COLORS["base"], "solid", "held_percent", overlay_dash="solid"
    ),
    Curve(
        Panel.COST,
        "time per step (median of 9)",
        COLORS["time"],
        "dash",
        "step_ms",
        secondary=True,
        # A machine that does other things too makes single readings jump by a factor of two.
        median_of=9,
        overlay_dash="dash",
        overlay_hint="dashed: time per step",
    ),
)
_COMMON_COLUMNS = frozenset(curve.column for curve in (*_ACCURACY, *_COST))


@functools.cache
def history_curves() -> tuple[Curve, ...]:
    """Every curve that a run of any method can have, by panel.

    Where methods share a column, the first of them says how it looks.
    """
    metrics: dict[str, Metric] = {}
    for method in METHODS.values():
        for metric in method.metrics:
            metrics.setdefault(metric.key, metric)
    own = (curve for metric in metrics.values() for curve in _of_metric(metric))
    return tuple(sorted((*_ACCURACY, *own, *_COST), key=lambda curve: curve.panel))


def _of_metric(metric: Metric) -> Iterator[Curve]:
    yield Curve(
        metric.panel,
        metric.label,
        named_color(metric.color),
        metric.dash,
        metric.key,
        markers=metric.markers,
        panel_title=metric.panel_title,
        overlay_dash=metric.overlay_dash,
        overlay_hint=metric.overlay_hint,
    )
    if metric.teacher_label:
        color = COLORS["teacher"]
        yield Curve(metric.panel, metric.teacher_label, color, "dot", metric.key, "teacher")


def is_shown(curve: Curve, metrics: Iterable[Metric]) -> bool:
    """Whether a run of a method with these metrics has the curve."""
    return curve.column in _COMMON_COLUMNS or any(m.key == curve.column for m in metrics)


def first_panel(columns: Iterable[str]) -> str:
    """Title of the first panel, by what a method reports.

    Example:
        >>> first_panel(("task", "lr_share"))
        'Learning rate'
    """
    columns = set(columns)
    titles = (c.panel_title for c in history_curves() if c.panel_title and c.column in columns)
    return next(titles, PANELS[Panel.PROGRESS])


def accuracy_title(rows: Iterable[Mapping[str, Any]], metric: TaskMetric = ACCURACY) -> str:
    """Title of the accuracy's panel, with what its readings rest on where a history tells.

    Example:
        >>> accuracy_title([{"examples": 261}]), accuracy_title([])
        ('Accuracy (261 validation examples)', 'Accuracy (validation)')
    """
    counts = (row["examples"] for row in rows if isinstance(row.get("examples"), Integral))
    count = next(counts, None)
    of = "validation" if count is None else f"{count:,} validation examples"
    return f"{metric.heading} ({of})"


def is_share(metric: TaskMetric) -> bool:
    """Whether an axis of it goes from 0 to 1, and is written in per cent."""
    return (metric.low, metric.high, metric.unit) == (0, 1, "%")


def score_axis(metric: TaskMetric) -> str:
    """Title of the axis; one in per cent says so at its numbers.

    Example:
        >>> score_axis(ACCURACY), score_axis(TaskMetric("psnr", "PSNR", "dB"))
        ('top-1 accuracy', 'PSNR (dB)')
    """
    return metric.title.removesuffix(" (%)") if is_share(metric) else metric.title


def score_ticks(metric: TaskMetric) -> dict[str, Any]:
    """Range and numbers of a plotly axis of the metric."""
    if is_share(metric):
        return {
            "range": [0, 1.02], "autorange": False, "tickformat": ".0%", "hoverformat": ".1%"
        }  # fmt: skip
    return {"range": None, "autorange": True, "tickformat": "", "hoverformat": ".4~g"}


def with_scores(
    rows: Iterable[Mapping[str, Any]], metric: TaskMetric
) -> Iterator[Mapping[str, Any]]:
    """The rows with a task's metric in the columns of classification's, which the curves read.

    Values are as a person reads them; shares stay as they are.

    Example:
        >>> list(with_scores([{"step": 3, "psnr": 28.3}], TaskMetric("psnr", "PSNR")))
        [{'step': 3, 'psnr': 28.3, 'accuracy': 28.3}]
    """
    names = ("key", "of_teacher", "if_base_removed")
    pairs = [(getattr(ACCURACY, name), getattr(metric, name)) for name in names]
    if all(drawn == own for drawn, own in pairs):
        yield from rows
        return
    scale = 1.0 if is_share(metric) else metric.scale
    for row in rows:
        there = {drawn: row[own] for drawn, own in pairs if isinstance(row.get(own), Real)}
        yield {**row, **{drawn: scale * value for drawn, value in there.items()}}


def curves(rows: Iterable[Mapping[str, Any]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The points of every curve of :func:`history_curves`: x in steps, y as measured (or smoothed).

    A teacher's fine-tuning stands left of step 0, where the fade begins.

    Example:
        >>> points = curves([{"phase": "fade", "step": 0, "lam": 1.0}])
        >>> [(x.tolist(), y.tolist()) for x, y in points if len(x)]
        [([0.0], [1.0])]
    """
    return points_of(rows, history_curves())


def points_of(
    rows: Iterable[Mapping[str, Any]], drawn: Iterable[Curve]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same of some curves, in their order."""
    rows = list(rows)
    points = []
    for curve in drawn:
        pairs = [
            (row["step"] - (row["steps"] if curve.phase == "teacher" else 0), row[curve.column])
            for row in rows
            if _is_placed(row, curve) and _is_drawable(row.get(curve.column), curve)
        ]
        x, y = zip(*pairs, strict=True) if pairs else ((), ())
        values = _running_median(np.asarray(y, dtype=float), curve.median_of)
        points.append((np.asarray(x, dtype=float), values))
    return points


def _running_median(values: np.ndarray, width: int) -> np.ndarray:
    if len(values) == 0 or width == 1:
        return values
    padded = np.pad(values, width // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)


def _is_placed(row: Mapping[str, Any], curve: Curve) -> bool:
    """Whether it is of the curve's phase and says of which step; another version may not."""
    needed = ("step", "steps") if curve.phase == "teacher" else ("step",)
    return row.get("phase") == curve.phase and all(isinstance(row.get(n), Integral) for n in needed)


def _is_drawable(value: Any, curve: Curve) -> bool:
    # At λ = 1 the student equals its teacher up to rounding. A feature loss of 1e-13 is no
    # information, and on a logarithmic axis it would press everything else flat.
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and not (curve.panel == Panel.LOSS and value < 1e-7)
