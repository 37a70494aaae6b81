"""Runs over each other, in the lab's four panels.

A plain plotly figure with a fixed number of traces, so that a widget made of it is filled anew
and never made anew.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from pclora_lab.methods.metrics import Panel
from pclora_lab.plots.curves import (
    PANELS,
    Curve,
    curves,
    history_curves,
    score_axis,
    score_ticks,
    with_scores,
)
from pclora_lab.plots.figure import thinned
from pclora_lab.plots.panels import cell_of, four_panels, style_axes
from pclora_lab.runs.reader import Run
from pclora_lab.runs.result_columns import finite
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.tasks.registry import metrics_of, task_of

__all__ = ["MOST_RUNS", "fill_overlay", "overlay_figure", "plain_text"]

MOST_RUNS = 8
# Okabe and Ito's colors, and two more that stand apart from them.
RUN_COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#555555",
)  # fmt: skip
_MOST_POINTS = 500


def plain_text(text: object) -> str:
    """A name as plotly shows it letter by letter: no tags, no entities, no formulas.

    Example:
        >>> plain_text("<b>8</b> & $x$")
        '&lt;b&gt;8&lt;/b&gt; &amp; &#36;x&#36;'
    """
    return html.escape(str(text), quote=False).replace("$", "&#36;")


def overlay_figure(runs: Sequence[Run] = ()) -> go.Figure:
    """The lab's four panels with several runs in each, one color per run.

    Args:
        runs: the first eight are drawn; the title says so if there are more.

    Example:
        >>> len(overlay_figure().data) == MOST_RUNS * (1 + len(_overlaid()))
        True
    """
    titles = [f"{title}<br><sup>{_hints(panel)}</sup>" for panel, title in PANELS.items()]
    figure = four_panels(titles, 0.1, 0.17)
    for slot, color in enumerate(RUN_COLORS):
        # A line of the legend needs a trace that is there even if the run has no points yet.
        figure.add_trace(_trace(slot, color, "solid", showlegend=True, y=[None]), row=1, col=1)
        for curve in _overlaid().values():
            _add_curve(figure, slot, color, curve)
    _style(figure)
    return fill_overlay(figure, runs)


def _overlaid() -> dict[int, Curve]:
    """Curves that are drawn for every run, by their number in :func:`history_curves`."""
    every = enumerate(history_curves())
    return {i: curve for i, curve in every if curve.overlay_dash and curve.phase == "fade"}


def _hints(panel: Panel) -> str:
    drawn = (curve for curve in _overlaid().values() if curve.panel == panel)
    return "; ".join(curve.overlay_hint for curve in drawn if curve.overlay_hint)


def _trace(slot: int, color: str, dash: str, **more: Any) -> go.Scatter:
    return go.Scatter(
        x=[None],
        mode="lines",
        line={"color": color, "dash": dash, "width": 2},
        legendgroup=str(slot),
        **more,
    )


def _add_curve(figure: go.Figure, slot: int, color: str, curve: Curve) -> None:
    # A table tells the lines of one run apart by it; they share the run's name.
    told = {"hovertemplate": _hover(curve, ACCURACY), "meta": curve.name}
    trace = _trace(slot, color, curve.overlay_dash, showlegend=False, **told)
    secondary = curve.secondary if curve.panel == Panel.COST else None
    figure.add_trace(trace, secondary_y=secondary, **cell_of(curve.panel))


def _hover(curve: Curve, metric: TaskMetric) -> str:
    is_score = curve.panel == Panel.ACCURACY
    value = f"%{{y:{score_ticks(metric)['hoverformat'] if is_score else '.4~g'}}}"
    return f"step %{{x}}: {value} {curve.name}<extra>%{{fullData.name}}</extra>"


def _style(figure: go.Figure) -> None:
    figure.update_layout(
        template="plotly_white",
        height=700,
        autosize=True,
        margin={"l": 60, "r": 60, "t": 60, "b": 110},
        font={"size": 12},
        title={"font": {"size": 13}, "x": 0.01, "y": 0.99, "yanchor": "top"},
        legend={"orientation": "h", "y": -0.12, "yanchor": "top", "x": 0},
    )
    style_axes(figure)
    figure.update_xaxes(title_standoff=4)


def fill_overlay(figure: go.Figure, runs: Sequence[Run]) -> go.Figure:
    """Put other runs into an :func:`overlay_figure`, also one that is a widget.

    What tasks measure is drawn of runs of the first one's task; the title says what that leaves
    out.

    Args:
        figure: made by :func:`overlay_figure`.
        runs: the first eight are drawn.
    """
    drawn, each = list(runs)[:MOST_RUNS], 1 + len(_overlaid())
    metric = _metric_of(drawn[0]) if drawn else ACCURACY
    with figure.batch_update():
        axis = {"title_text": score_axis(metric), **score_ticks(metric)}
        figure.update_yaxes(**axis, **cell_of(Panel.ACCURACY))
        for slot in range(MOST_RUNS):
            run = drawn[slot] if slot < len(drawn) else None
            own = run is not None and _measured(run) == _measured(drawn[0])
            _fill_slot(figure.data[slot * each : (slot + 1) * each], run, metric, own)
        others = sum(_measured(run) != _measured(drawn[0]) for run in drawn)
        figure.layout.title.text = _title(len(drawn), len(runs), others, metric)
    return figure


def _metric_of(run: Run) -> TaskMetric:
    return metrics_of(run.result or run.config)[0]


def _measured(run: Run) -> tuple[TaskMetric, object]:
    """Metric and task: two tasks may call what they measure alike, such as a perplexity."""
    facts = run.result or run.config
    task = task_of(facts)
    return _metric_of(run), facts.get("task") if task is None else task.key_facts()


def _fill_slot(
    traces: Sequence[Any], run: Run | None, metric: TaskMetric, is_of_task: bool
) -> None:
    nothing = [(np.empty(0), np.empty(0))] * len(history_curves())
    points = nothing
    if run is not None:
        rows = with_scores(run.rows, metric) if is_of_task else map(_bare, run.rows)
        points = curves(_drawable(rows))
    name = plain_text(run.folder.name) if run is not None else ""
    for trace in traces:
        trace.name, trace.visible = name, run is not None
    for trace, (index, curve) in zip(traces[1:], _overlaid().items(), strict=True):
        trace.hovertemplate = _hover(curve, metric)
        x, y = points[index]
        some = thinned(len(x), _MOST_POINTS)
        trace.x, trace.y = np.asarray(x)[some], np.asarray(y)[some]


def _bare(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without what another task measures."""
    left_out = (ACCURACY.key, ACCURACY.of_teacher, ACCURACY.if_base_removed)
    return {key: value for key, value in row.items() if key not in left_out}


def _drawable(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the training itself; what a person or another version wrote otherwise is left out."""
    columns = [curve.column for curve in history_curves()]
    return [
        {**row, **{column: finite(row.get(column)) for column in columns}}
        for row in rows
        if row.get("phase") == "fade" and finite(row.get("step")) is not None
    ]


def _title(drawn: int, given: int, others: int, metric: TaskMetric) -> str:
    if not drawn:
        return "no run selected"
    parts = []
    if given > drawn:
        parts.append(
            f"the first {drawn} of {given} runs (more than {MOST_RUNS} can't be told apart)"
        )
    if others:
        runs = "1 run of another task is" if others == 1 else f"{others} runs of other tasks are"
        parts.append(f"{runs} left out where the {plain_text(metric.label)} is drawn")
    return "; ".join(parts)
