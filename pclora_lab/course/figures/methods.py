"""Figures of what PELA cuts and of how SNELLA's layers compete. Matplotlib, no widgets here."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from pclora_lab.methods.snella.sparsifiers import SPARSIFIERS, sparsify
from pclora_lab.plots.figure import NotebookFigure, common_names, with_styles
from pclora_lab.plots.method_styles import method_style
from pclora_lab.plots.palette import COLORS
from pclora_lab.plots.theme import current_theme, in_theme, themed

__all__ = [
    "allocation_figure",
    "allocation_grid",
    "cut_cost_figure",
    "kernel_figure",
    "sparsifier_figure",
    "spectra_figure",
    "takeaway_figure",
]

# The part of viridis that stands out from a white page, and from a dark one.
_DEPTHS = {"light": (0.0, 0.58), "dark": (0.36, 1.0)}


# What is below is rounding: a matrix of rank r has min(in, out) − r such values.
_ROUNDING = 1e-6


_CORNER = 32


_MARKS = (
    (COLORS["adapter"], "o"), (COLORS["base"], "s"), (COLORS["feature"], "^"),
    (COLORS["task"], "D"), (COLORS["logit"], "v"),
)  # fmt: skip


_LINES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
_IN_TURN = ("base", "adapter", "feature", "task", "logit")


def _kind(name: str) -> str:
    """The part of a layer's name that is the same in every block: attn.qkv."""
    return re.split(r"(?:^|\.)\d+\.", name)[-1]


def _one_axis(width: float, height: float, **labels: str) -> tuple[Figure, Axes]:
    figure = NotebookFigure(figsize=(width, height), layout="constrained")
    axis = figure.subplots()
    axis.set(**labels)
    axis.grid()
    return figure, axis


@themed
def spectra_figure(
    spectra: Mapping[str, Sequence[float]], ranks: Mapping[str, int] | None = None
) -> Figure:
    """Singular values by layer, each divided by its largest; a panel for each kind of layer.

    Args:
        spectra: by layer name, largest first, as
            :func:`~pclora_lab.methods.factorization.weight_spectra` gives.
        ranks: by layer name; a dot marks the last singular value that such a rank keeps.

    Example:
        >>> figure = spectra_figure({"blocks.0.fc": [4.0, 2.0, 1.0]}, {"blocks.0.fc": 2})
        >>> figure.axes[0].lines[0].get_ydata().tolist()
        [1.0, 0.5, 0.25]
    """
    kinds: dict[str, list[str]] = {}
    for name in spectra:
        kinds.setdefault(_kind(name), []).append(name)
    columns = min(4, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = NotebookFigure(figsize=(2.5 * columns, 0.2 + 2.3 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axis, (kind, names) in zip(axes[: len(kinds)], kinds.items(), strict=True):
        _draw_spectra(axis, {name: spectra[name] for name in names}, ranks or {})
        axis.set(title=kind, xlabel="singular value, by size", ylim=(0, 1.04))
        axis.grid()
    for axis in axes[::columns]:
        axis.set_ylabel("share of the largest")
    for axis in axes[len(kinds) :]:
        axis.remove()
    axes[0].legend(title="block, by depth" if len(kinds) < len(spectra) else None, fontsize=8)
    return figure


def _draw_spectra(
    axis: Axes, spectra: Mapping[str, Sequence[float]], ranks: Mapping[str, int]
) -> None:
    depths = np.linspace(*_DEPTHS[current_theme()], len(spectra))
    styles = ("-", "--", "-.", ":")
    for i, (name, values) in enumerate(spectra.items()):
        shares = _shares_of_largest(values)
        places = np.arange(1, len(shares) + 1)
        color, block = colormaps["viridis"](depths[i]), name.removesuffix(_kind(name))
        style = {"color": color, "linestyle": styles[i % len(styles)], "linewidth": 1.6}
        axis.plot(places, shares, label=block.strip(".") or name, **style)
        if name in ranks:
            rank = ranks[name]
            axis.axvline(rank, color=in_theme(COLORS["guide"]), linewidth=0.8, zorder=0)
            axis.plot(rank, shares[rank - 1], "o", color=in_theme(COLORS["adapter"]), markersize=5)


def _shares_of_largest(values: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=float) / max(float(values[0]), np.finfo(float).tiny)


@themed
def cut_cost_figure(costs: Mapping[str, Mapping[str, float]]) -> Figure:
    """What a cut leaves out, by layer; a marker for each way to cut.

    Args:
        costs: by way to cut, then by layer name: relative errors, 0 to 1.

    Raises:
        ValueError: ways with other layers than the first.

    Example:
        >>> figure = cut_cost_figure({"plain": {"fc": 0.5}, "weighted": {"fc": 0.25}})
        >>> [line.get_xdata().tolist() for line in figure.axes[0].lines]
        [[50.0], [25.0]]
    """
    layers = common_names(costs)
    height = 1.2 + 0.24 * len(layers)
    figure, axis = _one_axis(7, height, xlabel="error of the layer's output (% of its size)")
    percent = 100 * np.array([[errors[name] for name in layers] for errors in costs.values()])
    places = np.arange(len(layers))
    axis.hlines(places, percent.min(0), percent.max(0), color=in_theme(COLORS["guide"]), zorder=0)
    ways = zip(costs, percent, strict=True)
    for (way, values), (color, marker) in with_styles(ways, _MARKS):
        axis.plot(values, places, marker, color=in_theme(color), label=way, linestyle="none")
    axis.set_xlim(0, None)
    axis.set_yticks(places, layers, fontsize=9)
    axis.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=len(costs), frameon=False)
    return figure


@themed
def kernel_figure(matrices: Mapping[str, Any]) -> Figure:
    """Corners of merged matrices beside each other, and singular values of the whole ones.

    Args:
        matrices: by title, ``(in_features, out_features)`` each.

    Example:
        >>> figure = kernel_figure({"diagonal": np.diag([4.0, 1.0])})
        >>> figure.axes[1].lines[0].get_ydata().tolist()
        [1.0, 0.25]
    """
    figure = NotebookFigure(figsize=(2.8 * len(matrices) + 3.4, 2.9), layout="constrained")
    *heats, spectrum = figure.subplots(1, len(matrices) + 1)
    styles = list(zip(_LINES, (COLORS[name] for name in _IN_TURN), strict=True))
    panels = zip(heats, matrices.items(), strict=True)
    for (axis, (title, matrix)), style in with_styles(panels, styles):
        values = np.asarray(matrix, dtype=float)
        _draw_matrix(figure, axis, title, values)
        shares = _shares_of_largest(np.linalg.svd(values, compute_uv=False))
        spectrum.plot(
            np.arange(1, len(shares) + 1),
            shares.clip(_ROUNDING / 10),  # a logarithmic axis has no 0
            linestyle=style[0],
            color=in_theme(style[1]),
            linewidth=2,
            label=title,
        )
    spectrum.set(title="singular values", xlabel="singular value, by size")
    spectrum.set(ylabel="share of the largest", yscale="log", ylim=(_ROUNDING, 2))
    spectrum.grid()
    spectrum.legend(fontsize=8, loc="lower right")
    return figure


def _draw_matrix(figure: Figure, axis: Axes, title: str, values: np.ndarray) -> None:
    corner = values[:_CORNER, :_CORNER]
    # The few largest entries would make all others look white.
    limit = np.quantile(np.abs(corner), 0.99) or 1.0
    image = axis.imshow(corner, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest")
    axis.set(title=title, xlabel="output", ylabel="input")
    scale = ScalarFormatter()
    scale.set_powerlimits((-2, 3))
    figure.colorbar(image, ax=axis, shrink=0.75, extend="both", format=scale)


@themed
def sparsifier_figure(sparsity: float = 0.6) -> Figure:
    """What each sparsifier makes of values between −1 and 1; see ``sparsify``."""
    figure, axis = _one_axis(5.5, 3.6, xlabel="entry of M", ylabel="entry of S")
    M = torch.linspace(-1, 1, 401, dtype=torch.float64, device="cpu")
    for (sparsifier, (color, _)), style in with_styles(with_styles(SPARSIFIERS, _MARKS), _LINES):
        values = sparsify(M, sparsity, sparsifier)
        axis.plot(M, values, style, color=in_theme(color), label=sparsifier, linewidth=2)
    axis.legend(title=f"at sparsity {sparsity:g}")
    return figure


def allocation_grid(
    rows: Iterable[Mapping[str, Any]],
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Who may change how much, when: one column for each time that the shares change.

    Args:
        rows: a history; only rows with ``layer_density`` count.

    Returns:
        Names of the layers, the columns' edges in % of the training (one more than columns), and
        the shares in %, ``(layers, columns)``. All empty where there is no such row.

    Example:
        >>> shares = ({"a": 1.0}, {"a": 0.5}, {"a": 0.5})
        >>> rows = [{"progress": i / 2, "layer_density": s} for i, s in enumerate(shares)]
        >>> [part.tolist() for part in allocation_grid(rows)[1:]]
        [[0.0, 50.0, 100.0], [[100.0, 50.0]]]
    """
    rows = [row for row in rows if row.get("layer_density")]
    if not rows:
        return [], np.empty(0), np.empty((0, 0))
    layers = list(rows[0]["layer_density"])
    edges: list[float] = []
    columns: list[list[float]] = []
    for row in rows:
        shares = [row["layer_density"][name] for name in layers]
        if not columns or shares != columns[-1]:
            columns.append(shares)
            edges.append(row["progress"])
    # The last column may have begun with the last row; a column without width can't be drawn.
    edges.append(max(rows[-1]["progress"], edges[-1] + 0.005))
    return layers, 100 * np.array(edges), 100 * np.array(columns).T


@themed
def allocation_figure(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Layer by layer, the share of weights that may change while SNELLA's layers compete.

    Args:
        rows: the history of a SNELLA run.

    Raises:
        ValueError: no row has ``layer_density``.
    """
    layers, edges, shares = allocation_grid(rows)
    if not layers:
        raise ValueError("no row has layer_density: pass the history of a SNELLA run")
    figure = NotebookFigure(figsize=(9, 1.3 + 0.22 * len(layers)), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(layers) + 1) - 0.5
    # By the root, or all that happens once the budget is small would be one dark blue.
    norm = PowerNorm(0.5, vmin=0, vmax=100)
    mesh = axis.pcolormesh(edges, places, shares, cmap="cividis", norm=norm)
    axis.set(xlabel="training done (%)", xlim=(edges[0], min(edges[-1], 100.0)))
    axis.set_yticks(places[:-1] + 0.5, layers, fontsize=9)
    axis.invert_yaxis()
    bar = figure.colorbar(mesh, ax=axis, label="weights that may change (%)")
    bar.set_ticks((0, 1, 5, 20, 50, 100))
    return figure


@themed
def takeaway_figure(
    histories: Mapping[str, Iterable[Mapping[str, Any]]],
    teacher: float | None = None,
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Accuracy of the model that one would take along at each step, a line per method.

    Args:
        histories: rows by method name. While a base is there, it is left behind.
        teacher: its accuracy, as a dashed line.
        marks: steps by what happens there, as upright lines.

    Example:
        >>> rows = [{"step": 3, "accuracy": 0.9, "accuracy_if_base_removed": 0.5}]
        >>> takeaway_figure({"pclora": rows}).axes[0].lines[0].get_ydata().tolist()
        [50.0]
    """
    figure, axis = _one_axis(8, 4, xlabel="step", ylabel="top-1 of the model to take along (%)")
    for name, rows in histories.items():
        measured = [row for row in rows if row.get("accuracy") is not None]
        title, color, marker = method_style(name)
        shares = np.array([row[_which(row)] for row in measured])
        axis.plot(
            [row["step"] for row in measured],
            100 * shares,
            color=in_theme(color),
            marker=marker,
            markersize=5,
            label=title,
        )
    if teacher is not None:
        dashes: dict[str, Any] = {"color": in_theme(COLORS["teacher"]), "linestyle": "--"}
        axis.axhline(100 * teacher, label="dense model", **dashes)
    for i, (text, step) in enumerate((marks or {}).items()):
        axis.axvline(step, color=in_theme(COLORS["guide"]), linewidth=1)
        # One above the other, because two marks may stand close together.
        where = (step, 0), (4, 4 + 14 * i), axis.get_xaxis_transform(), "offset points"
        axis.annotate(text, *where, fontsize=9)
    axis.set_ylim(None, 101)
    axis.legend(loc="lower right")
    return figure


def _which(row: Mapping[str, Any]) -> str:
    removed = "accuracy_if_base_removed"
    return "accuracy" if row.get(removed) is None else removed
