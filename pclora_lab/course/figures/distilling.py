"""Figures of the lessons on the teacher and on PELA: who reaches whom, who holds the features."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from pclora_lab.plots.figure import NotebookFigure, common_names, with_styles
from pclora_lab.plots.palette import COLORS
from pclora_lab.plots.theme import in_theme, themed

__all__ = ["drift_figure", "latency_figure", "reach_figure", "repair_figure"]

_LINES = (
    ("-", "task"), ("--", "adapter"), ("-.", "feature"), (":", "logit"),
    ((0, (6, 1, 1, 1, 1, 1)), "base"),
)  # fmt: skip


@themed
def reach_figure(norms: Mapping[str, Mapping[str, float]]) -> Figure:
    """Gradient norms as a table, a row for each loss term and a column for each layer.

    The color goes by the logarithm. A zero has no logarithm and is left empty but for its 0.

    Args:
        norms: by term, then by layer.

    Raises:
        ValueError: terms with other layers than the first.

    Example:
        >>> figure = reach_figure({"task": {"fc": 2.0}, "cut off": {"fc": 0.0}})
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['2', '0']
    """
    layers = common_names(norms)
    size = (1.9 + 0.56 * len(layers), 1.5 + 0.42 * len(norms))
    figure = NotebookFigure(figsize=(max(4.0, size[0]), size[1]), layout="constrained")
    axis = figure.subplots()
    values = np.array([[term[name] for name in layers] for term in norms.values()], dtype=float)
    shown = np.ma.masked_less_equal(values, 0)
    found = shown.compressed() if shown.count() else np.ones(1)
    norm = LogNorm(found.min(), max(found.max(), found.min() * 1.01))
    image = axis.imshow(shown, cmap="cividis", norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        color = _readable_on(colormaps["cividis"](norm(value))) if value > 0 else None
        style: dict[str, Any] = {} if color is None else {"color": color}
        axis.text(column, row, f"{value:.1g}", ha="center", va="center", fontsize=8, **style)
    axis.set_yticks(range(len(norms)), list(norms))
    _label_layers(axis, layers)
    figure.colorbar(image, ax=axis, label="norm of the\ngradient at B", pad=0.01)
    return figure


def _readable_on(color: Sequence[float]) -> str:
    red, green, blue = color[:3]
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.45 else "white"


def _label_layers(axis: Axes, layers: Sequence[str]) -> None:
    """A layer's kind below its column, its block above, a line between two blocks."""
    parts = [_block_and_kind(name) for name in layers]
    kinds = [kind for _, kind in parts]
    axis.set_xticks(range(len(layers)), kinds, rotation=55, ha="right", fontsize=8)
    starts = [i for i, (block, _) in enumerate(parts) if i == 0 or block != parts[i - 1][0]]
    for start, end in zip(starts, [*starts[1:], len(parts)], strict=True):
        if block := parts[start][0]:
            axis.text((start + end - 1) / 2, -0.65, block, ha="center", va="bottom")
        if start:
            axis.axvline(start - 0.5, color=in_theme(COLORS["ink"]), linewidth=1.5)


def _block_and_kind(name: str) -> tuple[str, str]:
    found = re.match(r"(.*\.\d+)\.(.+)", name)
    return (found[1], found[2]) if found else ("", name)


@themed
def drift_figure(curves: Mapping[str, Sequence[Sequence[float]]], **labels: str) -> Figure:
    """A quantity over the steps by setting: the mean over runs, and from the least to the most.

    Args:
        curves: by setting, one or more runs, each ``(steps,)``.
        labels: what :meth:`matplotlib.axes.Axes.set` takes besides, such as ``ylabel``.

    Raises:
        ValueError: runs of one setting that are of unequal length.

    Example:
        >>> axis = drift_figure({"held": [[0.0, 1.0], [0.0, 3.0]]}, ylabel="gap").axes[0]
        >>> axis.lines[0].get_ydata().tolist()
        [0.0, 2.0]
    """
    figure = NotebookFigure(figsize=(8, 3.6), layout="constrained")
    axis = figure.subplots()
    for (label, runs), (line, color) in with_styles(curves.items(), _LINES):
        if len({len(run) for run in runs}) != 1:
            raise ValueError(f"the runs of {label!r} are not of one length: draw them apart")
        values, shade = np.asarray(runs, dtype=float), in_theme(COLORS[color])
        axis.plot(values.mean(0), linestyle=line, color=shade, linewidth=2, label=label)
        if len(runs) > 1:
            steps = range(values.shape[1])
            axis.fill_between(steps, values.min(0), values.max(0), color=shade, alpha=0.2)
    axis.set(xlabel="step", ylim=(0, None), **labels)
    axis.grid()
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


@themed
def repair_figure(
    rows: Iterable[Mapping[str, Any]], teacher: float, repair_end: float, terms: Sequence[str]
) -> Figure:
    """Where PELA wins its accuracy back: while the teacher helps (shaded), or afterwards.

    Args:
        rows: the history of a run.
        teacher: accuracy of the dense model, as a dashed line.
        repair_end: the step at which fine-tuning begins.
        terms: columns of the rows that are drawn in the right panel, each divided by its first
            value; a term ends where it is no longer measured.

    Raises:
        ValueError: no row has an accuracy.

    Example:
        >>> rows = [{"step": 0, "accuracy": 0.5, "task": 4.0}, {"step": 9, "task": 1.0}]
        >>> figure = repair_figure(rows, teacher=0.9, repair_end=5, terms=["task"])
        >>> [axis.lines[0].get_ydata().tolist() for axis in figure.axes]
        [[50.0], [100.0, 25.0]]
    """
    rows = list(rows)
    figure = NotebookFigure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps, accuracies = _column(rows, "accuracy")
    if not steps:
        raise ValueError("no row has an accuracy: pass the history of a run")
    left.plot(steps, 100 * np.array(accuracies), "o-", color=in_theme(COLORS["student"]))
    dashes: dict[str, Any] = {"color": in_theme(COLORS["teacher"]), "linestyle": "--"}
    left.axhline(100 * teacher, label="dense model", **dashes)
    left.set(ylabel="top-1 on validation data (%)", ylim=(None, 101))
    for term, (line, color) in with_styles(terms, _LINES):
        steps, values = _column(rows, term)
        if steps and values[0]:
            shares = 100 * np.array(values) / values[0]
            right.plot(steps, shares, linestyle=line, color=in_theme(COLORS[color]), label=term)
    right.set(ylabel="loss term (% of its first value)", ylim=(0, None))
    for axis in (left, right):
        axis.axvspan(0, repair_end, color=in_theme(COLORS["share"]), alpha=0.2, label="repair")
        axis.set_xlabel("step")
        axis.grid()
        axis.legend()
    return figure


def _column(rows: Iterable[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of the rows that have such a value."""
    found = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]


@themed
def latency_figure(
    shares: Sequence[float], times: Mapping[str, Sequence[Sequence[float]]]
) -> Figure:
    """What a low rank takes of a layer's time, over what it takes of its multiply-adds.

    On the diagonal the time falls as the multiply-adds do; above 100% the low rank loses.

    Args:
        shares: multiply-adds as shares of the dense layer's, from small to large.
        times: by layer, one or more runs of times at these shares, as shares of the dense layer's.

    Raises:
        ValueError: not as many times as shares.

    Example:
        >>> figure = latency_figure([0.5, 1.0], {"one token": [[0.75, 1.25]]})
        >>> [line.get_ydata().tolist() for line in figure.axes[0].lines[:2]]
        [[50.0, 100.0], [75.0, 125.0]]
    """
    figure = NotebookFigure(figsize=(8, 3.8), layout="constrained")
    axis = figure.subplots()
    places = 100 * np.array(shares)
    ink: dict[str, Any] = {"color": in_theme(COLORS["ink"]), "label": "as the multiply-adds"}
    axis.plot(places, places, "--", linewidth=1, **ink)
    for (name, runs), (_, color) in with_styles(times.items(), _LINES):
        if odd := [len(run) for run in runs if len(run) != len(shares)]:
            raise ValueError(f"{name!r} has {odd[0]} times for {len(shares)} shares")
        values, shade = 100 * np.array(runs), in_theme(COLORS[color])
        axis.plot(places, values.mean(0), "o-", color=shade, label=name)
        axis.fill_between(places, values.min(0), values.max(0), color=shade, alpha=0.2)
    axis.axhline(100, color=in_theme(COLORS["guide"]), linewidth=1, label="the dense layer")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log", base=2)
    axis.set_xticks(places, [f"{place:.0f}" for place in places])
    ticks = (5, 10, 25, 50, 100)
    axis.set_yticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set(
        xlabel="multiply-adds (% of the dense layer's)", ylabel="time (% of the dense layer's)"
    )
    axis.grid()
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure
