"""Figures that read the records in ``data/results``: fades, the late jump, outcomes, starts."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pclora_lab.methods.pclora.schedules import SCHEDULES, Points, base_weight_factor
from pclora_lab.plots.figure import NotebookFigure, common_names, with_styles
from pclora_lab.plots.palette import COLORS, CYCLE, INIT_COLORS
from pclora_lab.plots.theme import in_theme, themed

__all__ = [
    "fades_figure",
    "jump_figure",
    "measured",
    "outcome_figure",
    "parts_figure",
    "schedule_figure",
    "initialization_figure",
]

_LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))


_MARKS = "osD^vPX"


_AS_IT_IS, _REMOVED = "accuracy", "accuracy_if_base_removed"


def measured(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of a history that have both accuracies."""
    return [row for row in rows if row.get(_AS_IT_IS) is not None and row.get(_REMOVED) is not None]


def _by_label(runs: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault(run["label"], []).append(run)
    return groups


def _mean_curve(runs: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and the mean over runs, which must have been measured at the same steps."""
    histories = [measured(run["history"]) for run in runs]
    steps = [[row["step"] for row in history] for history in histories]
    if any(other != steps[0] for other in steps):
        raise ValueError(
            f"the runs of {runs[0]['label']!r} were measured at different steps: draw them apart"
        )
    values = [[row[key] for row in history] for history in histories]
    return np.asarray(steps[0], dtype=float), np.mean(np.asarray(values, dtype=float), axis=0)


@themed
def fades_figure(runs: Iterable[Mapping[str, Any]]) -> Figure:
    """λ and both accuracies over the training, a panel for each label; means over its runs.

    Args:
        runs: each with ``label`` and ``history`` (rows), as ``data/results/schedules.json`` has.

    Raises:
        ValueError: runs of one label that were measured at different steps.
    """
    groups = _by_label(runs)
    width = max(6.0, 2.3 * len(groups) + 0.6)
    figure = NotebookFigure(figsize=(width, 3), layout="constrained")
    axes = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axis, (label, group) in zip(axes, groups.items(), strict=True):
        steps, lam = _mean_curve(group, "lam")
        axis.fill_between(
            steps, 100 * lam, color=in_theme(COLORS["share"]), alpha=0.35, label="λ (%)"
        )
        as_it_is, removed = (100 * _mean_curve(group, key)[1] for key in (_AS_IT_IS, _REMOVED))
        axis.plot(steps, as_it_is, color=in_theme(COLORS["base"]), label="student as it is")
        axis.plot(
            steps,
            removed,
            "--",
            color=in_theme(COLORS["adapter"]),
            label="if the base were removed",
        )
        axis.set(title=label, xlabel="step", ylim=(0, 102))
        axis.title.set_fontsize(10)
        axis.grid()
    axes[0].set_ylabel("top-1 (%)")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


@themed
def jump_figure(runs: Iterable[Mapping[str, Any]]) -> Figure:
    """Accuracy if the base were removed over λ, from 1 on the left to 0: the jump comes late.

    Args:
        runs: each with ``label`` and ``history``; a mean line for each label.
    """
    figure = NotebookFigure(figsize=(7, 3.6), layout="constrained")
    axis = figure.subplots()
    groups = _by_label(runs)
    # A schedule looks as it does in schedule_figure; other labels take the styles after those.
    order = list(dict.fromkeys((*SCHEDULES, *groups)))
    for label, group in groups.items():
        i = order.index(label)
        lam, removed = _mean_curve(group, "lam")[1], _mean_curve(group, _REMOVED)[1]
        # After the fade λ stays 0; only the first such point belongs to the fade.
        end = int(np.argmax(lam == 0)) + 1 if (lam == 0).any() else len(lam)
        axis.plot(
            lam[:end],
            100 * removed[:end],
            color=in_theme(CYCLE[i % len(CYCLE)]),
            linestyle=_LINES[i % len(_LINES)],
            marker=_MARKS[i % len(_MARKS)],
            markersize=4,
            label=label,
        )
    axis.set(xlabel="λ, weight of the base", ylabel="top-1 if the base were removed (%)")
    axis.set(xlim=(1.02, -0.02), ylim=(0, 102))
    axis.grid()
    axis.legend(fontsize=9, loc="upper left")
    return figure


@themed
def outcome_figure(runs: Iterable[Mapping[str, Any]], teacher: float | None = None) -> Figure:
    """Final accuracy of every label: a small dot for each run, a large mark for the mean.

    Args:
        runs: each with ``label`` and ``accuracy`` in [0, 1].
        teacher: its accuracy, as a dashed line.

    Example:
        >>> runs = [{"label": "a", "accuracy": 0.5}, {"label": "a", "accuracy": 0.7}]
        >>> float(outcome_figure(runs).axes[0].lines[1].get_xdata()[0])
        60.0
    """
    groups = _by_label(runs)
    figure = NotebookFigure(figsize=(7, 1.1 + 0.33 * len(groups)), layout="constrained")
    axis = figure.subplots()
    for row, group in enumerate(groups.values()):
        values = [100 * run["accuracy"] for run in group]
        axis.plot(
            values,
            [row] * len(values),
            "o",
            color=in_theme(COLORS["guide"]),
            markersize=4,
            label=None if row else "one run",
        )
        axis.plot(
            statistics.mean(values),
            row,
            "D",
            color=in_theme(COLORS["adapter"]),
            markersize=7,
            label=None if row else _mean_of(groups.values()),
        )
    if teacher is not None:
        axis.axvline(
            100 * teacher, color=in_theme(COLORS["teacher"]), linestyle="--", label="teacher"
        )
    figure.legend(fontsize=9, loc="outside upper right", ncols=3, frameon=False)
    axis.set_yticks(range(len(groups)), list(groups))
    axis.set(xlabel="top-1 on the test split (%)", ylim=(len(groups) - 0.5, -0.5))
    axis.grid(axis="x")
    return figure


def _mean_of(groups: Iterable[Sequence[Mapping[str, Any]]]) -> str:
    """What a mark is, with the number of runs where it is the same for all."""
    counts = {len(group) for group in groups}
    return f"mean of {counts.pop()}" if len(counts) == 1 else "mean"


def parts_figure(
    before: Mapping[str, Mapping[str, int]],
    after: Mapping[str, Mapping[str, int]],
    label: str = "small",
) -> Figure:
    """Parameters as bars made of parts: every model before and after, and after alone, enlarged.

    Args:
        before: parameters by model, then by part; the last part is drawn first, at the left.
        after: the same of the smaller models.
        label: what the smaller models are called.

    Raises:
        ValueError: models with other parts than the first, or not the same before and after.

    Example:
        >>> figure = parts_figure({"a": {"W": 4_000_000}}, {"a": {"W": 1_000_000}}, "rank 1")
        >>> [[float(bar.get_width()) for bar in axis.patches] for axis in figure.axes]
        [[4.0, 1.0], [1.0]]
    """
    small = {f"{name}\n{label}": parts for name, parts in after.items()}
    both: dict[str, Mapping[str, int]] = {}
    for name in common_names({"before": before, "after": after}):
        both |= {f"{name}\ndense": before[name], f"{name}\n{label}": after[name]}
    figure = NotebookFigure(figsize=(11, 3.8), layout="constrained")
    axes, titles = figure.subplots(1, 2), ("all", "what is left, enlarged")
    names = common_names(both)[::-1]
    for axis, bars, title in zip(axes, (both, small), titles, strict=True):
        end = np.zeros(len(bars))
        for i, part in enumerate(names):
            millions = np.array([parts[part] for parts in bars.values()]) / 1e6
            axis.barh(list(bars), millions, left=end, color=CYCLE[i % len(CYCLE)], label=part)
            end += millions
        axis.set(title=title, xlabel="million parameters")
        axis.invert_yaxis()
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(handles[1]), frameon=False)
    return figure


@themed
def schedule_figure(
    schedules: Sequence[str | Points] | None = None, fade_end: float = 0.6
) -> Figure:
    """λ over the training for some schedules; None draws those there are."""
    schedules = tuple(SCHEDULES) if schedules is None else schedules
    figure = NotebookFigure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    progress = np.linspace(0, 1, 201)
    for schedule, style in with_styles(schedules, _LINES):
        lam = [base_weight_factor(p, schedule, fade_end) for p in progress]
        axis.plot(100 * progress, lam, linestyle=style, label=str(schedule), linewidth=2)
    axis.set(xlabel="training done (%)", ylabel="λ, weight of the base", ylim=(-0.02, 1.05))
    axis.axvline(100 * fade_end, color=in_theme(COLORS["guide"]), linewidth=1)
    axis.grid()
    axis.legend()
    return figure


@themed
def initialization_figure(
    runs: Iterable[Mapping[str, Any]], teacher: float | None = None
) -> Figure:
    """Accuracy if the base were removed, over the training; one color per start, a line per run.

    Args:
        runs: with ``start`` and ``history`` (rows), as the records in ``data/results`` have them.
        teacher: its accuracy, as a dotted line.
    """
    figure = NotebookFigure(figsize=(7.5, 4), layout="constrained")
    axis = figure.subplots()
    styles = dict(with_styles(INIT_COLORS, ("-", "--", "-.")))
    named: set[str] = set()
    for run in runs:
        start = run["start"]
        rows = [r for r in run["history"] if r["accuracy_if_base_removed"] is not None]
        axis.plot(
            [row["step"] for row in rows],
            [100 * row["accuracy_if_base_removed"] for row in rows],
            styles[start],
            color=in_theme(INIT_COLORS[start]),
            label=None if start in named else start,
        )
        named.add(start)
    if teacher is not None:
        axis.axhline(100 * teacher, color=in_theme(COLORS["teacher"]), ls=":", label="teacher")
    axis.set(xlabel="step", ylabel="top-1 if the base were removed now (%)")
    axis.grid()
    axis.legend(title="start, a line per run")
    return figure
