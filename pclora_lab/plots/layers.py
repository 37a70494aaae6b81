"""Figures that look into the layers and at examples. Matplotlib, no widgets here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from matplotlib.patches import Patch

from pclora_lab.plots.examples.masks import MASK_SIDES, painted_masks, shown_classes
from pclora_lab.plots.figure import NotebookFigure
from pclora_lab.plots.palette import COLORS
from pclora_lab.plots.theme import in_theme, themed
from pclora_lab.runs.replay import Predictions
from pclora_lab.tasks.metrics import Verdict

__all__ = [
    "LAYER_METRICS",
    "LayerMetric",
    "cell_edges",
    "examples_figure",
    "layer_heatmap",
    "layer_grid",
    "target_text",
    "verdict_text",
    "verdict_texts",
]

_SHORTEST = 0.16


@dataclass(frozen=True)
class LayerMetric:
    """What a heatmap of the layers can show.

    Attributes:
        column: of the history.
        title: of the picture.
        unit: of the color bar.
        reading: what to see.
        log: whether colors follow the logarithm.
    """

    column: str
    title: str
    unit: str
    reading: str
    log: bool = False


LAYER_METRICS = {
    fact.column: fact
    for fact in (
        LayerMetric(
            "layer_base_share",
            "Who still leans on the base?",
            "share of the base",
            "A bright layer still takes a part of its output from the base (the scale ends at the "
            "largest share there was); a dark one lives on its adapter alone.",
        ),
        LayerMetric(
            "layer_mse",
            "How far from the teacher?",
            "log10 of the MSE",
            "Bright layers give another output than the teacher's on the same examples: by their "
            "own error, and by those of all layers before them.",
            log=True,
        ),
        LayerMetric(
            "layer_cka",
            "How alike is what it says?",
            "linear CKA",
            "Centered kernel alignment: 1 where outputs are the teacher's up to rotation and "
            "scale, less where they tell the examples apart in another way.",
        ),
    )
}


def layer_grid(
    rows: Iterable[Mapping[str, Any]], column: str
) -> tuple[list[str], list[int], np.ndarray]:
    """Layers, steps and values ``(layers, steps)`` of one fact; only rows that have it.

    Example:
        >>> rows = [{"step": s, "layer_cka": {"a": 1.0, "b": 0.5}} for s in (0, 10)]
        >>> layers, steps, values = layer_grid(rows, "layer_cka")
        >>> layers, steps, values.tolist()
        (['a', 'b'], [0, 10], [[1.0, 1.0], [0.5, 0.5]])
    """
    rows = [row for row in rows if isinstance(row.get(column), Mapping) and row[column]]
    rows = [row for row in rows if isinstance(row.get("step"), Integral)]
    if not rows:
        return [], [], np.empty((0, 0))
    layers = list(dict.fromkeys(name for row in rows for name in row[column]))
    values = [[row[column].get(name, np.nan) for name in layers] for row in rows]
    grid = np.asarray(values, dtype=float).T
    if LAYER_METRICS[column].log:
        # At the start the student is the teacher, up to rounding: nothing below that is seen.
        grid = np.log10(np.maximum(grid, 1e-7))
    return layers, [row["step"] for row in rows], grid


@themed
def layer_heatmap(
    rows: Iterable[Mapping[str, Any]], column: str = "layer_base_share"
) -> NotebookFigure:
    """Layer over step as a heatmap.

    Args:
        rows: a history.
        column: a key of :data:`LAYER_METRICS`.

    Raises:
        ValueError: no row has the column.
    """
    layers, steps, values = layer_grid(rows, column)
    if not layers:
        raise ValueError(f"no row has {column}: train with layer_metrics=True")
    height = 1.2 + max(_SHORTEST * len(layers), 1.5)
    figure = NotebookFigure(figsize=(8, height), layout="constrained")
    axis = figure.subplots()
    low, high = color_range(LAYER_METRICS[column], values)
    rows_at = np.arange(len(layers) + 1)
    picture = axis.pcolormesh(
        cell_edges(steps), rows_at, values, cmap="cividis", vmin=low, vmax=high
    )
    axis.invert_yaxis()
    axis.set_yticks(np.arange(len(layers)) + 0.5, layers, fontsize=8)
    axis.set(xlabel="step", title=LAYER_METRICS[column].title)
    figure.colorbar(picture, label=LAYER_METRICS[column].unit)
    return figure


def color_range(fact: LayerMetric, values: np.ndarray) -> tuple[float, float]:
    """From none to the largest share there was; from the least alike to 1; or all there is."""
    if fact.column == "layer_base_share":
        return 0.0, max(float(np.nanmax(values)), 0.05)
    if fact.column == "layer_cka":
        return float(np.nanmin(values)), 1.0
    return float(np.nanmin(values)), float(np.nanmax(values))


def cell_edges(steps: Sequence[int]) -> np.ndarray:
    """Where the columns of a heatmap end: halfway to their neighbors; one more than steps.

    Example:
        >>> cell_edges([0, 10, 30]).tolist()
        [0.0, 5.0, 20.0, 30.0]
    """
    if len(steps) == 1:
        return np.asarray([steps[0] - 0.5, steps[0] + 0.5])
    middles = (np.asarray(steps[1:]) + np.asarray(steps[:-1])) / 2
    return np.concatenate([[steps[0]], middles, [steps[-1]]])


def verdict_text(verdict: Verdict) -> str:
    """What a model says, how sure, and whether it is right.

    Example:
        >>> verdict_text(Verdict("dog", False, 0.9)), verdict_text(Verdict("28.3 dB"))
        ('dog 90% ✗', '28.3 dB')
    """
    parts = [_short(verdict.text)]
    parts += [] if verdict.sure is None else [f"{100 * verdict.sure:.0f}%"]
    parts += [] if verdict.is_right is None else ["✓" if verdict.is_right else "✗"]
    return " ".join(parts)


def verdict_texts(predictions: Predictions, index: int, names: Sequence[str]) -> list[str]:
    """What teacher and student say about an example.

    Args:
        predictions: of both.
        index: of the example among them.
        names: of the classes.
    """
    both = (predictions.teacher, predictions.student)
    target = predictions.labels[index]
    verdicts = (predictions.task.verdict(answers[index], target, names) for answers in both)
    return [verdict_text(verdict) for verdict in verdicts]


def target_text(predictions: Predictions, index: int, names: Sequence[str]) -> str:
    """What is right, where a few words say it, such as a class."""
    return _short(predictions.task.label(predictions.labels[index], names))


def _short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


@themed
def examples_figure(
    images: np.ndarray,
    predictions: Predictions,
    names: Sequence[str],
    maps: tuple[np.ndarray, np.ndarray] | None = None,
) -> NotebookFigure:
    """Examples in columns: the image, where teacher and student look, and what they say.

    Args:
        images: uint8 ``(examples, channels, height, width)``.
        predictions: of both models.
        names: of the classes.
        maps: attention of teacher and student ``(examples, rows, columns)``, if they have one.
    """
    if painted_masks(predictions, 0) is not None:
        return _masks_figure(images, predictions, names)
    count, rows = len(images), 1 if maps is None else 3
    figure = NotebookFigure(figsize=(1.62 * count + 0.3, 1.75 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, count, squeeze=False)
    for i, image in enumerate(images):
        gray = image.shape[0] == 1
        shown = image[0] if gray else image.transpose(1, 2, 0)
        label = target_text(predictions, i, names)
        who = verdict_texts(predictions, i, names)
        if maps is None:
            _picture(axes[0, i], shown, f"{label}\nteacher: {who[0]}\n{who[1]}")
            continue
        _picture(axes[0, i], shown, label)
        for axis, attention, text in zip(axes[1:, i], maps, who, strict=True):
            _picture(axis, shown, text)
            high, wide = shown.shape[:2]
            axis.imshow(attention[i], cmap="inferno", alpha=0.65, extent=(0, wide, high, 0))
    sides = ("image", "teacher", "student")[:rows]
    for axis, side in zip(axes[:, 0], sides, strict=True):
        axis.set_ylabel(side)
    return figure


def _masks_figure(
    images: np.ndarray, predictions: Predictions, names: Sequence[str]
) -> NotebookFigure:
    """Examples in columns: the image, the right classes of its pixels, and what both models say."""
    sides = ("image", *MASK_SIDES)
    size = (1.62 * len(images) + 0.3, 1.75 * len(sides) + 0.6)
    figure = NotebookFigure(figsize=size, layout="constrained")
    axes = figure.subplots(len(sides), len(images), squeeze=False)
    for i, image in enumerate(images):
        shown = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
        titles = ("", "", *verdict_texts(predictions, i, names), "")
        pictures = (shown, *(painted_masks(predictions, i) or ()))
        for axis, picture, title in zip(axes[:, i], pictures, titles, strict=True):
            _picture(axis, picture, title)
    for axis, side in zip(axes[:, 0], sides, strict=True):
        axis.set_ylabel(side)
    _add_class_legend(figure, shown_classes(predictions, range(len(images)), names))
    return figure


def _add_class_legend(figure: NotebookFigure, colors: Mapping[str, tuple[int, int, int]]) -> None:
    frame = in_theme(COLORS["guide"])
    marks = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*color), edgecolor=frame, label=_short(name))
        for name, color in colors.items()
    ]
    columns = max(1, int(figure.get_figwidth() / 1.1))
    figure.legend(
        handles=marks, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )


def _picture(axis: Any, shown: np.ndarray, title: str) -> None:
    high, wide = shown.shape[:2]
    axis.imshow(shown, cmap="gray", extent=(0, wide, high, 0), interpolation="nearest")
    # A dollar sign in a class name is no formula.
    axis.set_title(title.replace("$", r"\$"), fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])
