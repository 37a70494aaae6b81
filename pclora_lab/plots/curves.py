"""The curves of a history: which column is drawn where, and its points."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pclora_lab.plots.theme import COLORS

__all__ = ["Curve", "curves"]

PANELS = ("Base-weight fade", "Accuracy (validation)", "Loss terms", "Size and speed")


Y_TITLES = ("share", "top-1 accuracy", "loss (log scale)", "parameters held (% of dense)")


LOSS_PANEL = 2


@dataclass(frozen=True)
class Curve:
    """One line in one panel; ``y`` holds NaN where nothing was measured."""

    panel: int
    name: str
    color: str
    dash: str
    column: str
    phase: str = "fade"
    secondary: bool = False


CURVES = (
    Curve(0, "λ", COLORS["base"], "solid", "lam"),
    Curve(0, "measured share of the base", COLORS["share"], "dash", "base_share"),
    Curve(1, "teacher while fine-tuned", COLORS["teacher"], "dot", "accuracy", "teacher"),
    Curve(1, "teacher", COLORS["teacher"], "dash", "teacher_accuracy"),
    Curve(1, "student as it is", COLORS["base"], "solid", "accuracy"),
    Curve(1, "if the base were removed", COLORS["adapter"], "solid", "accuracy_if_base_removed"),
    Curve(2, "task", COLORS["task"], "solid", "task"),
    Curve(2, "task (teacher)", COLORS["teacher"], "dot", "task", "teacher"),
    Curve(2, "feature distillation", COLORS["feature"], "dash", "feature"),
    Curve(2, "logit distillation", COLORS["logit"], "dot", "logit"),
    Curve(3, "parameters held", COLORS["base"], "solid", "held_percent"),
    Curve(3, "time per step (median of 9)", COLORS["time"], "dash", "step_ms", "fade", True),
    Curve(0, "learning rate, share of its peak", COLORS["base"], "solid", "lr_share"),
    Curve(0, "weights that may change", COLORS["adapter"], "solid", "density"),
    Curve(0, "layers that may not change at all", COLORS["share"], "dash", "starved"),
    Curve(0, "repair with the teacher (1), alone (0)", COLORS["share"], "dash", "repair"),
    Curve(2, "weight perturbation", COLORS["logit"], "dash", "perturbation"),
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
