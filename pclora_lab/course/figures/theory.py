"""Figures of what a layer's best low rank can reach, beside what was measured. Matplotlib."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pclora_lab.methods.factorization import truncation_error
from pclora_lab.plots.figure import NotebookFigure, with_styles
from pclora_lab.plots.palette import COLORS
from pclora_lab.plots.theme import in_theme, themed

__all__ = ["layer_errors_figure", "staying_figure", "truncation_figure"]

_LINES = (("o-", "teacher"), ("s--", "feature"), ("^:", "logit"), ("D-.", "task"))


@themed
def truncation_figure(values: Mapping[str, Tensor], rank: int) -> Figure:
    """Eckart and Young: what a rank keeps of a matrix and leaves out, and the error over the rank.

    A panel for each matrix has the squares of its singular values, as shares of their sum; the
    share of those right of the rank is e². The last panel has
    :func:`~pclora_lab.methods.factorization.truncation_error` at every rank.

    Args:
        values: singular values by the matrix's name, largest first.
        rank: r, from 1; a mark on every curve.

    Raises:
        ValueError: no matrix, or a rank that one of them does not have.

    Example:
        >>> import torch
        >>> figure = truncation_figure({"W": torch.tensor([4.0, 3.0])}, rank=1)
        >>> figure.axes[0].get_title(), figure.axes[1].lines[0].get_ydata().tolist()
        ('W: e = 60%', [100.0, 60.0, 0.0])
    """
    fewest = min((len(all_of_it) for all_of_it in values.values()), default=0)
    if not 1 <= rank <= fewest:
        raise ValueError(f"rank {rank} can't be marked: use 1 to {fewest}, the ranks that all have")
    columns = len(values) + 1
    figure = NotebookFigure(figsize=(3.1 * columns + 0.3, 3), layout="constrained")
    *panels, curves = figure.subplots(1, columns)
    for axis, (name, all_of_it) in zip(panels, values.items(), strict=True):
        _draw_energy(axis, all_of_it, rank)
        axis.set_title(f"{name}: e = {truncation_error(all_of_it, rank):.0%}")
    for (name, all_of_it), (line, color) in with_styles(values.items(), _LINES):
        errors = [100 * truncation_error(all_of_it, r) for r in range(len(all_of_it) + 1)]
        style: dict[str, Any] = {
            "color": in_theme(COLORS[color]),
            "markevery": [rank],
            "label": name,
        }
        curves.plot(errors, line, **style)
    curves.set(xlabel="rank", ylabel="e, error of the best fit (%)", ylim=(0, 102))
    curves.grid()
    curves.legend()
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_energy(axis: Axes, values: Tensor, rank: int) -> None:
    energy = values.detach().double().cpu().numpy() ** 2
    shares = 100 * energy / max(energy.sum(), np.finfo(float).tiny)
    places = np.arange(1, len(shares) + 1)
    kept = f"kept by rank {rank}"
    axis.bar(places[:rank], shares[:rank], 1, color=in_theme(COLORS["adapter"]), label=kept)
    rest: dict[str, Any] = {"color": in_theme(COLORS["base"]), "label": "left out: together e²"}
    axis.bar(places[rank:], shares[rank:], 1, **rest)
    axis.set(xlabel="singular value, by size", ylabel="σ², share of the sum (%)")
    axis.grid(axis="y")


@themed
def layer_errors_figure(
    measured: Sequence[tuple[float, float]],
    predicted: Sequence[tuple[float, float]],
    fade_end: float | None = None,
) -> Figure:
    """One layer's two errors over the training, as measured, and dashed as predicted.

    Args:
        measured: for every step the error as it is and the one without the base, from 0.
        predicted: the same two, as :func:`~pclora_lab.methods.predicted_errors` gives them.
        fade_end: step at which λ reaches 0, as a gray line; None draws none.

    Raises:
        ValueError: not as many steps predicted as measured.

    Example:
        >>> figure = layer_errors_figure([(0.0, 1.0), (0.3, 0.3)], [(0.0, 1.0), (0.2, 0.2)])
        >>> [line.get_ydata().tolist() for line in figure.axes[0].lines]
        [[0.0, 30.0], [100.0, 30.0], [0.0, 20.0], [100.0, 20.0]]
    """
    if len(measured) != len(predicted):
        raise ValueError(
            f"{len(measured)} steps were measured and {len(predicted)} predicted: pass the same "
            "steps of both"
        )
    figure = NotebookFigure(figsize=(7, 3.4), layout="constrained")
    axis = figure.subplots()
    as_it_is, alone = 100 * np.asarray(measured).T
    # Wide and pale, so that the prediction can be seen where it lies on the measured line.
    for values, color, name in ((as_it_is, "base", "as it is"), (alone, "adapter", "base removed")):
        style: dict[str, Any] = {"color": in_theme(COLORS[color]), "linewidth": 5, "alpha": 0.6}
        axis.plot(values, label=f"measured, {name}", **style)
    # A label that begins with an underscore stays out of the legend: one entry names both.
    for values, name in zip(100 * np.asarray(predicted).T, ("predicted", "_"), strict=True):
        axis.plot(values, "--", color=in_theme(COLORS["ink"]), linewidth=1.5, label=name)
    if fade_end is not None:
        axis.axvline(fade_end, color=in_theme(COLORS["guide"]), linewidth=1, label="λ reaches 0")
    axis.set(xlabel="step", ylabel="error of the output (%)", ylim=(-2, 105))
    axis.grid()
    axis.legend()
    return figure


@themed
def staying_figure(
    fading: torch.Tensor, adapter: torch.Tensor, lams: Sequence[float] = (1.0, 0.5, 0.0)
) -> Figure:
    """Singular values of what fades, of the adapter, and of their sum, at some λ.

    Args:
        fading: the part that λ multiplies, ``(out, in)``: W, or with a residual start
            ``W − B₀A₀``.
        adapter: ``B A``, ``(out, in)``.
        lams: a panel for each.

    Example:
        >>> figure = staying_figure(torch.diag(torch.tensor([0.0, 2.0])), torch.diag(
        ...     torch.tensor([4.0, 0.0])), lams=(0.5,))
        >>> figure.axes[0].lines[2].get_ydata().round(3).tolist()
        [4.0, 1.0]
    """
    figure = NotebookFigure(figsize=(3.1 * len(lams) + 0.4, 3), layout="constrained")
    axes = figure.subplots(1, len(lams), sharey=True, squeeze=False)[0]
    fading, adapter = fading.detach().double(), adapter.detach().double()
    for axis, lam in zip(axes, lams, strict=True):
        for matrix, style, color, name in (
            (lam * fading, "-", in_theme(COLORS["base"]), "base, what is left of it"),
            (adapter, "--", in_theme(COLORS["adapter"]), "adapter B A"),
            (
                lam * fading + adapter,
                ":",
                in_theme(COLORS["ink"]),
                "their sum, what the layer does",
            ),
        ):
            values = torch.linalg.svdvals(matrix).numpy()
            places = np.arange(1, len(values) + 1)
            axis.plot(places, values, style, color=color, linewidth=2, label=name)
        axis.set(title=f"λ = {lam:g}", xlabel="singular value, by size")
        axis.set_ylim(bottom=0)
        axis.grid()
    axes[0].set_ylabel("size")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    return figure
