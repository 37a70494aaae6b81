"""The figure of a comparison: a task's metric over size, every method in its color and mark."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.ticker import LogLocator

from pclora_lab.plots.figure import NotebookFigure
from pclora_lab.plots.method_styles import method_style
from pclora_lab.plots.palette import COLORS
from pclora_lab.plots.theme import in_theme, themed
from pclora_lab.runs.comparison import ranking_of, summarize
from pclora_lab.tasks.metrics import TaskMetric

__all__ = ["pareto_figure"]


@themed
def pareto_figure(rows: Iterable[Mapping[str, Any]]) -> NotebookFigure:
    """The ranking metric over what remains, and over what was trained; a point by method, budget.

    Points are means over seeds with their standard deviation. The gray line joins the points that
    no other beats in both size and metric.

    Args:
        rows: as :meth:`pclora_lab.runs.comparison.Comparison.rows` gives them.
    """
    rows = list(rows)
    metric, summary = ranking_of(rows), summarize(rows)
    figure = NotebookFigure(figsize=(11.5, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, column in ((left, "params_after"), (right, "params_trained")):
        for name, group in summary.groupby("method", sort=False):
            _draw_method(axis, name, group, column, metric)
        axis.set(xscale="log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
        axis.grid(which="both")
    guide = in_theme(COLORS["guide"])
    left.plot(*zip(*_front(summary, metric), strict=True), color=guide, linewidth=1, zorder=0)
    left.set(xlabel="parameters of the finished model (% of dense)", ylabel=metric.title)
    right.set(xlabel="parameters trained (% of dense)")
    _mark_teacher((left, right), summary, metric)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def _draw_method(axis: Any, name: str, group: Any, column: str, metric: TaskMetric) -> None:
    style = method_style(name)
    group = group[group[column] > 0].sort_values(column)
    # A method whose size does not depend on the budget is one point, not a line.
    group = group.drop_duplicates([column, f"{metric.key}_mean"])
    if len(group):
        axis.errorbar(
            100 * group[column] / group["params_before"],
            metric.scale * group[f"{metric.key}_mean"],
            yerr=metric.scale * group[f"{metric.key}_std"].fillna(0),
            color=in_theme(style.color),
            marker=style.marker,
            markersize=7,
            capsize=3,
            label=style.title,
            linestyle="-" if group[column].nunique() > 1 else "none",
        )


def _front(summary: Any, metric: TaskMetric) -> list[tuple[float, float]]:
    """Points in order of size, each better than all that are not larger."""
    column, front = f"{metric.key}_mean", list[tuple[float, float]]()
    best: float | None = None
    is_ascending = metric.better == "lower"
    order = summary.sort_values(["params_after", column], ascending=[True, is_ascending])
    for row in order.to_dict("records"):
        if best is None or metric.is_better(row[column], best):
            best = row[column]
            front.append((100 * row["params_after"] / row["params_before"], metric.scale * best))
    return front


def _mark_teacher(axes: Sequence[Any], summary: Any, metric: TaskMetric) -> None:
    column = metric.of_teacher
    if column in summary and summary[column].notna().any():
        value = metric.scale * max(summary[column].dropna(), key=metric.rank)
        for axis in axes:
            axis.axhline(value, color=in_theme(COLORS["teacher"]), linestyle="--", linewidth=1)
        axes[0].annotate(
            "dense teacher", (0.01, value), xycoords=("axes fraction", "data"), va="bottom"
        )
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(low, max(high, value + 0.06 * (high - low)))  # room for the name
