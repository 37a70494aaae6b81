"""Figures in which runs stand side by side: methods at a budget, models before and after."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pclora_lab.course.figures.records import measured
from pclora_lab.plots.figure import NotebookFigure, with_styles
from pclora_lab.plots.method_styles import method_style
from pclora_lab.plots.palette import COLORS
from pclora_lab.plots.theme import in_theme, themed

__all__ = ["adaptation_figure", "budget_figure", "meeting_figure"]

Rows = Iterable[Mapping[str, Any]]

_COLORS = (COLORS["adapter"], COLORS["base"], COLORS["feature"], COLORS["task"])


@themed
def budget_figure(rows: Rows) -> NotebookFigure:
    """A panel for each budget: every method's seeds as dots, their mean as the method's mark.

    Two methods whose dots overlap can't be told apart. Methods stand in the order of their means at
    the smallest budget; a hollow mark is one whose result is as large as the dense model.

    Args:
        rows: of a comparison, as :meth:`~pclora_lab.runs.comparison.Comparison.rows` gives them;
            runs that failed are left out.

    Raises:
        ValueError: no run has an accuracy.

    Example:
        >>> rows = [{"method": "svd", "budget": 0.1, "accuracy": a, "params_before": 9,
        ...          "params_after": 4} for a in (0.5, 0.7)]
        >>> axis = budget_figure(rows).axes[0]
        >>> axis.get_title(), [float(line.get_xdata()[0]) for line in axis.lines]
        ('10% of the layers', [50.0, 60.0])
    """
    known = [row for row in rows if row["accuracy"] is not None]
    if not known:
        raise ValueError("no run has an accuracy: pass the rows of a comparison that has been run")
    cells: dict[float, dict[str, list[Mapping[str, Any]]]] = {}
    for row in known:
        cells.setdefault(row["budget"], {}).setdefault(row["method"], []).append(row)
    budgets = sorted(cells)
    names = list(dict.fromkeys(name for budget in budgets for name in cells[budget]))
    names.sort(key=lambda name: _mean(cells[budgets[0]].get(name, [])), reverse=True)
    size = (1.6 + 3.1 * len(budgets), 1.3 + 0.32 * len(names))
    figure = NotebookFigure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(budgets), sharex=True, sharey=True, squeeze=False)[0]
    for axis, budget in zip(panels, budgets, strict=True):
        for place, name in enumerate(names):
            _draw_runs(axis, place, name, cells[budget].get(name, []))
        axis.set(title=f"{100 * budget:g}% of the layers", ylim=(len(names) - 0.4, -0.6))
        axis.grid(axis="x")
        axis.set_axisbelow(True)
    seeds = max(len(runs) for by_name in cells.values() for runs in by_name.values())
    figure.supxlabel(f"top-1 (%), {seeds} seed{'s' * (seeds > 1)}", fontsize="medium")
    panels[0].set_yticks(range(len(names)), [method_style(name).title for name in names])
    most = 100 * max(*(row["accuracy"] for row in known), _teacher(known) or 0.0)
    panels[0].set_xlim(-2, 1.04 * most + 2)
    _name_marks(figure, panels, _teacher(known))
    return figure


def _teacher(rows: Rows) -> float | None:
    found = [row["teacher_accuracy"] for row in rows if row.get("teacher_accuracy") is not None]
    return max(found, default=None)


def _mean(runs: Sequence[Mapping[str, Any]]) -> float:
    return statistics.mean(run["accuracy"] for run in runs) if runs else 0.0


def _draw_runs(axis: Axes, place: int, name: str, runs: Sequence[Mapping[str, Any]]) -> None:
    if not runs:
        return
    values, (_, color, marker) = [100 * run["accuracy"] for run in runs], method_style(name)
    color = in_theme(color)
    axis.plot(values, [place] * len(values), "o", color=in_theme(COLORS["ink"]), markersize=3)
    is_dense = all(run["params_after"] >= run["params_before"] for run in runs)
    face = "none" if is_dense else color
    style: dict[str, Any] = {"markersize": 8, "markeredgecolor": color, "markerfacecolor": face}
    axis.plot(100 * _mean(runs), place, marker, zorder=1, **style)


def _name_marks(figure: NotebookFigure, panels: Iterable[Axes], teacher: float | None) -> None:
    gray, marks = in_theme(COLORS["guide"]), dict[str, Any](linestyle="none", markersize=8)
    dot = Line2D([], [], color=in_theme(COLORS["ink"]), marker="o", linestyle="none", markersize=3)
    named: dict[str, Artist] = {
        "a seed": dot,
        "mean": Line2D([], [], color=gray, marker="s", **marks),
        "mean, as large as the dense model": Line2D(
            [], [], color=gray, marker="s", markerfacecolor="none", **marks
        ),
    }
    if teacher is not None:
        style: dict[str, Any] = {"color": in_theme(COLORS["teacher"]), "linestyle": "--"}
        for axis in panels:
            named["dense teacher"] = axis.axvline(100 * teacher, **style)
    legend: dict[str, Any] = {"loc": "outside upper center", "ncols": 4, "frameon": False}
    figure.legend(named.values(), named.keys(), fontsize=9, **legend)


@themed
def adaptation_figure(rows: Rows, before: float) -> NotebookFigure:
    """A run of SNELLA: accuracy against the model as it was, and the budget that shrinks.

    Args:
        rows: the run's history, with ``progress``, ``density`` and, where it was measured,
            ``accuracy``.
        before: the model's accuracy in [0, 1] on the same data before a step was made.

    Example:
        >>> rows = [{"progress": p, "density": 1 - p, "accuracy": p} for p in (0.0, 0.5)]
        >>> left, right = adaptation_figure(rows, before=0.1).axes
        >>> left.lines[0].get_ydata().tolist(), right.lines[0].get_ydata().tolist()
        ([0.0, 50.0], [100.0, 50.0])
    """
    rows = list(rows)
    figure = NotebookFigure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    known = [row for row in rows if row.get("accuracy") is not None]
    for axis, shown, key, mark in ((left, known, "accuracy", "o-"), (right, rows, "density", "-")):
        places = [100 * row["progress"] for row in shown]
        color = in_theme(COLORS["adapter" if axis is right else "student"])
        axis.plot(places, 100 * np.array([row[key] for row in shown]), mark, color=color)
        axis.set(xlabel="training done (%)", ylim=(-2, 102))
        axis.grid()
    left.axhline(100 * before, color=in_theme(COLORS["teacher"]), linestyle="--")
    left.annotate("the model as it was", (50, 100 * before + 2), va="bottom")
    left.set_ylabel("top-1 on inverted digits (%)")
    right.set_ylabel("weights that may change (%)")
    return figure


@themed
def meeting_figure(runs: Mapping[str, Rows]) -> NotebookFigure:
    """Accuracy as it is (solid) and if the base were removed (dashed), until the two are one.

    A run that begins at λ = 1 begins as its teacher: a dotted line keeps the first one's accuracy.

    Args:
        runs: histories by name; rows in which not both were measured are left out.

    Raises:
        ValueError: a run in which both were never measured.

    Example:
        >>> rows = [{"step": 0, "lam": 1.0, "accuracy": 0.9, "accuracy_if_base_removed": 0.4}]
        >>> axis = meeting_figure({"rank 8": rows}).axes[0]
        >>> [text.get_text() for text in axis.get_legend().get_texts()]
        ['rank 8', 'rank 8, if the base were removed', 'teacher']
    """
    figure = NotebookFigure(figsize=(7.5, 3.6), layout="constrained")
    axis = figure.subplots()
    beginnings = []
    for (name, rows), color in with_styles(runs.items(), _COLORS):
        known = measured(rows)
        if not known:
            raise ValueError(f"{name!r} has no row with both accuracies: pass a PC-LoRA history")
        beginnings.append(known[0])
        steps = [row["step"] for row in known]
        for key, line, label in (
            ("accuracy", "-", name),
            ("accuracy_if_base_removed", "--", f"{name}, if the base were removed"),
        ):
            values = [100 * row[key] for row in known]
            axis.plot(steps, values, line, color=in_theme(color), label=label, linewidth=2)
    for row in [row for row in beginnings if row["lam"] == 1][:1]:
        gray = in_theme(COLORS["teacher"])
        axis.axhline(100 * row["accuracy"], color=gray, linestyle=":", label="teacher")
    axis.set(xlabel="step", ylabel="top-1 (%)")
    axis.grid()
    axis.legend()
    return figure
