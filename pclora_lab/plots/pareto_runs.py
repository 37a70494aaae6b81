"""Finished runs as points: a task's metric over parameters or latency, as a plain plotly figure."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from pclora_lab.plots.method_styles import MARKERS, MethodStyle, method_styles
from pclora_lab.plots.overlay import plain_text
from pclora_lab.runs.reader import Run
from pclora_lab.runs.result_columns import RESULT_COLUMNS, finite
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.tasks.registry import metrics_of

__all__ = ["AXES", "fill_pareto", "pareto_runs_figure"]

AXES = {column.listed: (column.key, column.axis) for column in RESULT_COLUMNS if column.axis}
_ANOTHER = MethodStyle("another method", "#000000", ".")


def pareto_runs_figure() -> go.Figure:
    """An empty plot of a metric over size; :func:`fill_pareto` puts runs into it."""
    figure = go.Figure(
        go.Scatter(
            name="no other run is better in both",
            mode="lines",
            line={"color": "#999999", "width": 1},
            hoverinfo="skip",
        )
    )
    for style in (*method_styles().values(), _ANOTHER):
        figure.add_scatter(
            name=style.title,
            mode="markers",
            marker={"color": style.color, "symbol": MARKERS[style.marker], "size": 10},
            hovertemplate=_hover(ACCURACY),
        )
    figure.update_layout(
        template="plotly_white",
        height=420,
        autosize=True,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        font={"size": 12},
        showlegend=True,
        clickmode="event",
        hovermode="closest",
    )
    figure.update_xaxes(type="log", exponentformat="none")
    figure.update_yaxes(title_text=ACCURACY.title)
    return figure


def _hover(metric: TaskMetric) -> str:
    unit = metric.unit if metric.unit in ("", "%") else f" {plain_text(metric.unit)}"
    return f"%{{text}}<br>%{{y:.{metric.digits}f}}{unit}, %{{x:,.4~g}}<extra></extra>"


def fill_pareto(figure: go.Figure, runs: Sequence[Run], over: str = "parameters left") -> go.Figure:
    """Put finished runs into a :func:`pareto_runs_figure`, also one that is a widget.

    Every point's ``customdata`` is the name of its run folder.

    Args:
        figure: made by :func:`pareto_runs_figure`.
        runs: of one model, data set and task; those without a result are left out.
        over: a key of :data:`AXES`.
    """
    column, title = AXES[over]
    metric = next((metrics_of(run.result)[0] for run in runs if run.result), ACCURACY)
    points = [point for run in runs if (point := _point(run, column, metric)) is not None]
    front = _front(points, metric)
    with figure.batch_update():
        _set(figure.data[0], [(x, y) for x, y, *_ in front])
        for trace, name in zip(figure.data[1:], [*method_styles(), None], strict=True):
            _fill_method(trace, [point for point in points if point[2] == name])
            trace.hovertemplate = _hover(metric)
        figure.layout.xaxis.title.text = title
        figure.layout.yaxis.title.text = plain_text(metric.title)
    return figure


def _point(
    run: Run, column: str, metric: TaskMetric
) -> tuple[float, float, str | None, str] | None:
    """x, the metric as a person reads it, method (None if there is none here) and name."""
    result = run.result or {}
    x, y = finite(result.get(column)), finite(result.get(metric.key))
    if x is None or y is None or x <= 0:
        return None
    method = result.get("method")
    known = isinstance(method, str) and method in method_styles()
    return x, metric.scale * y, method if known else None, run.folder.name


def _front(points: Sequence[tuple], metric: TaskMetric) -> list[tuple]:
    best, front = -math.inf, []
    for point in sorted(points, key=lambda p: (p[0], -metric.rank(p[1]))):
        if metric.rank(point[1]) > best:
            best = metric.rank(point[1])
            front.append(point)
    return front


def _set(trace: Any, pairs: Sequence[tuple[float, float]]) -> None:
    trace.x, trace.y = [x for x, _ in pairs], [y for _, y in pairs]


def _fill_method(trace: Any, points: Sequence[tuple]) -> None:
    _set(trace, [(x, y) for x, y, *_ in points])
    trace.customdata = [name for *_, name in points]
    trace.text = [plain_text(name) for *_, name in points]
    trace.visible = bool(points)
