"""Figures of runs, as plotly and as matplotlib, from the rows of a history. No widgets here.

Both draw the same curves (:func:`curves`) in the colours of :mod:`pclora_lab.theme`; line styles
differ too, for readers who see no colours.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pclora_lab.schedules import SCHEDULES, Points, base_weight_factor
from pclora_lab.theme import (
    COLOURS,
    START_COLOURS,
    current_theme,
    in_theme,
    matplotlib_theme,
    themed,
)

__all__ = [
    "COLOURS",
    "START_COLOURS",
    "Curve",
    "NotebookFigure",
    "curves",
    "history_figure",
    "schedule_figure",
    "starts_figure",
]

PANELS = ("Base-weight fade", "Accuracy (validation)", "Loss terms", "Size and speed")
Y_TITLES = ("share", "top-1 accuracy", "loss (log scale)", "parameters held (% of dense)")
LOSS_PANEL = 2


@dataclass(frozen=True)
class Curve:
    """One line in one panel; ``y`` holds NaN where nothing was measured."""

    panel: int
    name: str
    colour: str
    dash: str
    column: str
    phase: str = "fade"
    secondary: bool = False


CURVES = (
    Curve(0, "λ", COLOURS["base"], "solid", "lam"),
    Curve(0, "measured share of the base", COLOURS["share"], "dash", "base_share"),
    Curve(1, "teacher while fine-tuned", COLOURS["teacher"], "dot", "accuracy", "teacher"),
    Curve(1, "teacher", COLOURS["teacher"], "dash", "teacher_accuracy"),
    Curve(1, "student as it is", COLOURS["base"], "solid", "accuracy"),
    Curve(1, "if the base were removed", COLOURS["adapter"], "solid", "accuracy_if_base_removed"),
    Curve(2, "task", COLOURS["task"], "solid", "task"),
    Curve(2, "task (teacher)", COLOURS["teacher"], "dot", "task", "teacher"),
    Curve(2, "feature distillation", COLOURS["feature"], "dash", "feature"),
    Curve(2, "logit distillation", COLOURS["logit"], "dot", "logit"),
    Curve(3, "parameters held", COLOURS["base"], "solid", "held_percent"),
    Curve(3, "time per step (median of 9)", COLOURS["time"], "dash", "step_ms", "fade", True),
    Curve(0, "learning rate, share of its peak", COLOURS["base"], "solid", "lr_share"),
    Curve(0, "weights that may change", COLOURS["adapter"], "solid", "density"),
    Curve(0, "layers that may not change at all", COLOURS["share"], "dash", "starved"),
    Curve(0, "repair with the teacher (1), alone (0)", COLOURS["share"], "dash", "repair"),
    Curve(2, "weight perturbation", COLOURS["logit"], "dash", "perturbation"),
)
# Measured for every method; the other curves only where the method reports their column.
COMMON = ("accuracy", "teacher_accuracy", "held_percent", "step_ms")
FIRST_PANELS = {
    "lam": PANELS[0],
    "density": "Weights that may change",
    "repair": "Repair, then fine-tuning",
    "lr_share": "Learning rate",
}


def first_panel(columns: Iterable[str]) -> str:
    """Title of the first panel, by what a method reports.

    Example:
        >>> first_panel(("task", "lr_share"))
        'Learning rate'
    """
    columns = set(columns)
    return next((title for name, title in FIRST_PANELS.items() if name in columns), PANELS[0])


def curves(rows: Iterable[Mapping[str, Any]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The points of every curve in :data:`CURVES`: x in steps, y as measured (times smoothed).

    A teacher's fine-tuning stands left of step 0, where the fade begins.

    Example:
        >>> x, y = curves([{"phase": "fade", "step": 0, "lam": 1.0}])[0]
        >>> x.tolist(), y.tolist()
        ([0.0], [1.0])
    """
    rows = list(rows)
    points = []
    for curve in CURVES:
        pairs = [
            (row["step"] - (row["steps"] if curve.phase == "teacher" else 0), row[curve.column])
            for row in rows
            if row["phase"] == curve.phase and _is_drawable(row.get(curve.column), curve)
        ]
        x, y = zip(*pairs, strict=True) if pairs else ((), ())
        values = np.asarray(y, dtype=float)
        if curve.column == "step_ms":
            values = _running_median(values)
        points.append((np.asarray(x, dtype=float), values))
    return points


def _running_median(values: np.ndarray, width: int = 9) -> np.ndarray:
    # A machine that does other things too makes single readings jump by a factor of two.
    if len(values) == 0:
        return values
    padded = np.pad(values, width // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)


def _is_drawable(value: float | None, curve: Curve) -> bool:
    # At λ = 1 the student equals its teacher up to rounding. A feature loss of 1e-13 is no
    # information, and on a logarithmic axis it would press everything else flat.
    is_rounding = curve.panel == LOSS_PANEL and value is not None and value < 1e-7
    return value is not None and not is_rounding


class NotebookFigure(Figure):
    """A matplotlib figure that a notebook shows by itself, without pyplot's global state.

    It keeps the theme that was chosen when it was made; see :func:`pclora_lab.theme.use_theme`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.dark = current_theme() == "dark"
        with matplotlib_theme(self.dark):
            super().__init__(*args, **kwargs)

    def add_subplot(self, *args: Any, **kwargs: Any) -> Axes:
        """As matplotlib's, in the figure's theme."""
        with matplotlib_theme(self.dark):
            return super().add_subplot(*args, **kwargs)

    def draw(self, renderer: Any) -> None:
        """As matplotlib's, in the figure's theme, also where tick labels are only made now."""
        with matplotlib_theme(self.dark):
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        drawn, image = io.BytesIO(), io.BytesIO()
        with matplotlib_theme(self.dark):
            self.savefig(drawn, format="png", dpi=80)
        # 256 colours are enough for curves, and a notebook becomes half as large.
        Image.open(drawn).convert("RGB").quantize(256).save(image, format="png", optimize=True)
        return image.getvalue()


@themed
def history_figure(rows: Iterable[Mapping[str, Any]], title: str = "") -> Figure:
    """The four panels of the lab as a matplotlib figure."""
    rows = list(rows)
    was_taught = any(row["phase"] == "teacher" for row in rows)
    step_title = "step (the teacher's are negative)" if was_taught else "step"
    figure = NotebookFigure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    twin = axes[3].twinx()
    for curve, (x, y) in zip(CURVES, curves(rows), strict=True):
        if len(x):
            axis = twin if curve.secondary else axes[curve.panel]
            style = {"solid": "-", "dash": "--", "dot": ":"}[curve.dash]
            axis.plot(x, y, style, color=in_theme(curve.colour), label=curve.name, linewidth=2)
    panels = (first_panel({name for row in rows for name in row}), *PANELS[1:])
    for axis, panel, y_title in zip(axes, panels, Y_TITLES, strict=True):
        axis.set(title=panel, xlabel=step_title, ylabel=y_title)
        axis.grid()
    axes[2].set_yscale("log")
    axes[3].set_ylim(bottom=0)
    twin.set(ylabel="time per step (ms)", ylim=(0, None))
    for shown in ([axes[0]], [axes[1]], [axes[2]], [axes[3], twin]):
        # A run that ended before its first evaluation has panels without a curve.
        if handles := [handle for axis in shown for handle in axis.get_legend_handles_labels()[0]]:
            shown[0].legend(handles=handles, fontsize=9)
    if title:
        figure.suptitle(title)
    return figure


@themed
def schedule_figure(
    schedules: Sequence[str | Points] = tuple(SCHEDULES), fade_end: float = 0.6
) -> Figure:
    """λ over the training for some schedules."""
    figure = NotebookFigure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    progress = np.linspace(0, 1, 201)
    for schedule, style in zip(schedules, ("-", "--", "-.", ":"), strict=False):
        lam = [base_weight_factor(p, schedule, fade_end) for p in progress]
        axis.plot(100 * progress, lam, style, label=str(schedule), linewidth=2)
    axis.set(xlabel="training done (%)", ylabel="λ, weight of the base", ylim=(-0.02, 1.05))
    axis.axvline(100 * fade_end, color=in_theme(COLOURS["guide"]), linewidth=1)
    axis.grid()
    axis.legend()
    return figure


@themed
def starts_figure(runs: Iterable[Mapping[str, Any]]) -> Figure:
    """Accuracy if the base were removed, over the training; one colour per start, a line per run.

    Args:
        runs: with ``start`` and ``history`` (rows), as the records in ``data/results`` have them.
    """
    figure = NotebookFigure(figsize=(7.5, 4), layout="constrained")
    axis = figure.subplots()
    styles = {"zeros": "-", "svd": "--", "activation_svd": "-."}
    named: set[str] = set()
    for run in runs:
        start = run["start"]
        rows = [r for r in run["history"] if r["accuracy_if_base_removed"] is not None]
        axis.plot(
            [row["step"] for row in rows],
            [100 * row["accuracy_if_base_removed"] for row in rows],
            styles[start],
            color=in_theme(START_COLOURS[start]),
            label=None if start in named else start,
        )
        named.add(start)
    axis.set(xlabel="step", ylabel="top-1 if the base were removed now (%)")
    axis.grid()
    axis.legend(title="start of A, B, C")
    return figure
