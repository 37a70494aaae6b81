"""Figures of lessons 00 and 02: what a run holds, how its layers let go, a hard switch."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pclora_lab.course.figures.records import measured
from pclora_lab.plots.figure import NotebookFigure, with_styles
from pclora_lab.plots.palette import COLORS, CYCLE
from pclora_lab.plots.theme import in_theme, themed

__all__ = ["release_figure", "run_figure", "switch_figure"]

_STYLES = tuple(zip(CYCLE[:4], ("-", "--", "-.", ":"), strict=True))


@themed
def run_figure(rows: Iterable[Mapping[str, Any]]) -> NotebookFigure:
    """One run that fades: both accuracies and the teacher's, and the parameters that are held.

    Args:
        rows: of the history, with ``phase``, ``step``, ``lam``, ``held_percent`` and, where they
            were measured, ``accuracy``, ``accuracy_if_base_removed`` and ``teacher_accuracy``.

    Raises:
        ValueError: no row in which both accuracies were measured.

    Example:
        >>> row = {"phase": "fade", "step": 0, "lam": 1.0, "held_percent": 112.0}
        >>> row |= {"accuracy": 0.9, "accuracy_if_base_removed": 0.1, "teacher_accuracy": 0.9}
        >>> [axis.get_ylabel() for axis in run_figure([row]).axes]
        ['top-1 on validation images (%)', 'parameters held (% of dense)']
    """
    faded = [row for row in rows if row["phase"] == "fade"]
    seen = measured(faded)
    if not seen:
        raise ValueError("no row has both accuracies: pass the history of a run that fades")
    figure = NotebookFigure(figsize=(9.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [row["step"] for row in seen]
    for key, line, color, label in (
        ("accuracy", "-", "student", "student as it is"),
        ("accuracy_if_base_removed", "--", "adapter", "if the base were removed now"),
    ):
        values = [100 * row[key] for row in seen]
        left.plot(steps, values, line, color=in_theme(COLORS[color]), label=label)
    teacher = 100 * seen[-1]["teacher_accuracy"]
    left.axhline(teacher, color=in_theme(COLORS["teacher"]), linestyle=":", label="teacher")
    left.set(ylabel="top-1 on validation images (%)", ylim=(0, 102))
    held = [row["held_percent"] for row in faded]
    # What is held jumps in one step and is the same in between.
    right.step(
        *([row["step"] for row in faded], held), where="post", color=in_theme(COLORS["base"])
    )
    right.set(ylabel="parameters held (% of dense)", ylim=(0, None))
    _mark_the_end(left, faded, "λ reaches 0")
    _mark_the_end(right, faded, None)
    left.legend(loc="lower right")
    return figure


def _mark_the_end(axis: Axes, rows: Sequence[Mapping[str, Any]], label: str | None) -> None:
    """A gray line at the first row without λ, and the step as the axis' label."""
    if ends := [row["step"] for row in rows if row["lam"] == 0]:
        axis.axvline(ends[0], color=in_theme(COLORS["guide"]), linewidth=1, label=label)
    axis.set(xlabel="step")
    axis.grid()


@themed
def release_figure(rows: Iterable[Mapping[str, Any]]) -> NotebookFigure:
    """The base's share of each layer's output over the training, as measured and over its start.

    Args:
        rows: of the history; those with ``layer_base_share`` (by layer) are drawn.

    Raises:
        ValueError: no row has it, or a layer's share is 0 at the start.

    Example:
        >>> shares = [{"fc1": 0.2, "fc2": 0.4}, {"fc1": 0.1, "fc2": 0.2}]
        >>> rows = [{"step": i, "lam": 1 - i / 2, "layer_base_share": s} for i, s in
        ...         enumerate(shares)]
        >>> [line.get_ydata().tolist() for line in release_figure(rows).axes[1].lines[:2]]
        [[1.0, 0.5], [1.0, 0.5]]
    """
    probed = [row for row in rows if row.get("layer_base_share")]
    if not probed:
        raise ValueError("no row has layer_base_share: pass the history of a run that fades")
    steps, lam = ([row[key] for row in probed] for key in ("step", "lam"))
    shares = {name: [row["layer_base_share"][name] for row in probed] for name in _layers(probed)}
    if silent := [name for name, values in shares.items() if values[0] == 0]:
        raise ValueError(f"the base of {silent[0]} has a share of 0 at the start: nothing fades")
    figure = NotebookFigure(figsize=(9.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    kinds = list(dict.fromkeys(name.rpartition(".")[2] for name in shares))
    styles = dict(with_styles(kinds, _STYLES))
    named: set[str] = set()
    for name, values in shares.items():
        kind = name.rpartition(".")[2]
        color, line = styles[kind]
        style: dict[str, Any] = {"color": in_theme(color), "linewidth": 1.2}
        left.plot(steps, values, line, label=None if kind in named else kind, **style)
        right.plot(steps, np.asarray(values) / values[0], line, **style)
        named.add(kind)
    ink: dict[str, Any] = {"color": in_theme(COLORS["ink"]), "linewidth": 2}
    right.plot(steps, lam, ":", label="λ", **ink)
    right.axhline(0.5, color=in_theme(COLORS["guide"]), linewidth=1)
    left.set(xlabel="step", ylabel="share of the base in the output", ylim=(0, None))
    right.set(xlabel="step", ylabel="the same, over its own start", ylim=(0, None))
    for axis in (left, right):
        axis.grid()
        axis.legend()
    return figure


def _layers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(rows[0]["layer_base_share"])


@themed
def switch_figure(
    rows: Iterable[Mapping[str, Any]], shown: Sequence[str] | None = None
) -> NotebookFigure:
    """What one changes at a hard switch of λ: where it ends, and how far the optimizer moves.

    Args:
        rows: each with ``label``, ``accuracy`` in [0, 1] and ``update_sizes`` (for each step after
            the switch, the root mean square of the update over the learning rate).
        shown: labels whose update sizes are drawn, as means over their rows; None draws all.

    Raises:
        ValueError: a label in ``shown`` that no row has.

    Example:
        >>> rows = [{"label": "kept", "accuracy": 0.1, "update_sizes": [0.2, 0.3]}]
        >>> figure = switch_figure(rows)
        >>> figure.axes[1].lines[0].get_ydata().tolist()
        [0.2, 0.3]
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["label"], []).append(row)
    drawn = list(groups) if shown is None else list(shown)
    if unknown := [label for label in drawn if label not in groups]:
        raise ValueError(f"no row is labeled {unknown[0]!r}: there are {', '.join(groups)}")
    figure = NotebookFigure(figsize=(11, 1.2 + 0.3 * len(groups)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for place, group in enumerate(groups.values()):
        scores = [100 * row["accuracy"] for row in group]
        dots = {"color": in_theme(COLORS["guide"]), "markersize": 4}
        mark = {"color": in_theme(COLORS["adapter"]), "markersize": 7}
        names = ("one seed", f"mean of {len(group)}") if place == 0 else (None, None)
        left.plot(scores, [place] * len(scores), "o", label=names[0], **dots)
        left.plot(statistics.mean(scores), place, "D", label=names[1], **mark)
    left.set_yticks(range(len(groups)), list(groups))
    left.set(xlabel="top-1 on the test split (%)", xlim=(0, 100), ylim=(len(groups) - 0.5, -0.5))
    for label, (color, line) in with_styles(drawn, _STYLES):
        mean = np.mean([row["update_sizes"] for row in groups[label]], axis=0)
        right.plot(mean, line, color=in_theme(color), label=label)
    right.set(xlabel="steps after the switch", ylabel="update / learning rate", ylim=(0, None))
    for axis in (left, right):
        axis.grid(axis="x" if axis is left else "both")
        axis.legend(fontsize=8)
    return figure
