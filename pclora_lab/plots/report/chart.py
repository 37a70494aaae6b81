"""The chart that tells a run's story: its task's metric over steps, λ as an area behind it."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from pclora_lab.runs.result_columns import finite
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric

__all__ = ["chart_html", "nice_ticks"]

_WIDTH, _HEIGHT = 720, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 34, 12, 40

_IF_REMOVED = "if the base were removed now"

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A curve of the metric.

    Attributes:
        kind: its class in the style sheet.
        name: in the legend.
        points: step and value.
        has_marks: whether every reading is marked.
    """

    kind: str
    name: str
    points: Points
    has_marks: bool = True


def chart_html(
    rows: Sequence[Mapping[str, Any]],
    validation: int | None = None,
    metric: TaskMetric = ACCURACY,
) -> str:
    """The chart of a history with legend and caption; empty where fewer than two readings are.

    A run that ended while its teacher was fine-tuned shows the teacher's readings.

    Args:
        rows: the history.
        validation: how many examples that split has; None where that is not known.
        metric: of the run's task.
    """
    lines, lam = _own_lines(rows, metric), _points(rows, "fade", "lam")
    when = "during the training"
    if len(lines[0].points) < 2:
        lam, when = [], "while the teacher was fine-tuned"
        teacher = _points(rows, "teacher", metric.key)
        lines = [Line("student", "teacher while fine-tuned", teacher)]
    elif lam:
        when = "while the base, the original frozen weights, fades"
    if len(lines[0].points) < 2:
        return ""
    lines = [line for line in lines if line.points]
    title = f"Validation {html.escape(metric.label)} {when}"
    legend = "".join(_legend(line, metric) for line in lines)
    legend += '<span><i class="key lam"></i>λ (right axis)</span>' if lam else ""
    caption = " ".join([*_lam_text(lines, lam), *_reading_text(rows, lines, validation, metric)])
    return (
        f"<h2>{title}</h2><p class='legend'>{legend}</p>{_svg(lines, lam, metric)}"
        f"<p class='caption'>{caption}</p>"
    )


def _own_lines(rows: Sequence[Mapping[str, Any]], metric: TaskMetric) -> list[Line]:
    named = (
        ("student", "student", metric.key, True),
        ("removed", _IF_REMOVED, metric.if_base_removed, True),
        ("teacher", "teacher", metric.of_teacher, False),
    )
    return [
        Line(kind, name, _points(rows, "fade", column), marked)
        for kind, name, column, marked in named
    ]


def _points(rows: Sequence[Mapping[str, Any]], phase: str, column: str) -> Points:
    pairs = [
        (row["step"], value)
        for row in rows
        if row.get("phase") == phase
        and isinstance(row.get("step"), Integral)
        and (value := finite(row.get(column))) is not None
    ]
    return sorted(pairs, key=lambda pair: pair[0])


def _legend(line: Line, metric: TaskMetric) -> str:
    value = html.escape(metric.roughly(line.points[-1][1]))
    return f'<span><i class="key {line.kind}"></i>{line.name} {value}</span>'


def _reading_text(
    rows: Sequence[Mapping[str, Any]],
    lines: Sequence[Line],
    validation: int | None,
    metric: TaskMetric,
) -> Iterator[str]:
    counts = (row["examples"] for row in rows if isinstance(row.get("examples"), Integral))
    count = next(counts, None)
    of = "" if count is None else f"{count:,} "
    if count is not None and validation is not None and count < validation:
        of = f"{count:,} of the {validation:,} "
    yield (
        f"Measured on {of}validation examples during training; the figures beside the names are "
        "the last ones."
    )
    ticks = _ticks(lines, metric)
    if ticks[0] > 0:
        start = html.escape(_tick_text(ticks[0], ticks, metric))
        yield f"The {html.escape(metric.label)} axis starts at {start}, not at 0."


def _lam_text(lines: Sequence[Line], lam: Points) -> Iterator[str]:
    if not lam:
        return
    gone = next((step for step, value in lam if value == 0), None)
    until = "" if gone is None else f", as it was from step {gone:,.0f} on"
    yield f"λ multiplies the base: at 1 it counts in full, at 0 it is gone{until}."
    if any(line.name == _IF_REMOVED for line in lines):
        yield f"“{_IF_REMOVED.capitalize()}” is the student of that step with λ set to 0."


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers that enclose a range.

    Example:
        >>> nice_ticks(72, 98)
        [70.0, 75.0, 80.0, 85.0, 90.0, 95.0, 100.0]
        >>> nice_ticks(0, 300, 7)
        [0.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0]
    """
    span = max(high - low, 1e-9)
    size = 10.0 ** math.floor(math.log10(span / most))
    step = next(size * n for n in (1, 2, 5, 10, 20) if span / (size * n) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True)
class _Frame:
    """Where a step and a value stand in the picture."""

    steps: float
    low: float
    high: float

    def x(self, step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / self.steps

    def y(self, share: float) -> float:
        inside = (share - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * inside

    def path(self, points: Points) -> str:
        return " ".join(f"{self.x(step):.1f},{self.y(value):.1f}" for step, value in points)


def _svg(lines: list[Line], lam: Points, metric: TaskMetric) -> str:
    ticks = _ticks(lines, metric)
    last = max(step for line in [*lines, Line("", "", lam)] for step, _ in line.points)
    frame = _Frame(max(last, 1), ticks[0], min(ticks[-1], metric.high))
    drawn = [_area(frame, lam), _grid(frame, ticks, metric), _steps(frame), _lam_axis(frame, lam)]
    # The student last, and thinner than what lies under it: where lines meet both are seen.
    drawn += [_line(frame, line) for line in reversed(lines)]
    words = "; ".join(
        f"{line.name}: {metric.roughly(line.points[0][1])} at first, "
        f"{metric.roughly(line.points[-1][1])} at last"
        for line in lines
    )
    label = html.escape(f"{metric.heading} over steps. {words}")
    head = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}"'
    return f"<svg {head}>{''.join(drawn)}</svg>"


def _ticks(lines: Sequence[Line], metric: TaskMetric) -> list[float]:
    """Of a share over at least five points, so that one example more or less is no cliff."""
    values = [metric.scale * value for line in lines for _, value in line.points]
    low, high = min(values), max(values)
    if metric.counts_right and high - low < 5:
        low = max(0.0, high - 5)
        high = low + 5
    return [tick / metric.scale for tick in nice_ticks(low, high, 5)]


def _area(frame: _Frame, lam: Points) -> str:
    if not lam:
        return ""
    span = frame.high - frame.low
    scaled = [(step, frame.low + span * min(max(value, 0.0), 1.0)) for step, value in lam]
    ends = [(lam[-1][0], frame.low), (lam[0][0], frame.low)]
    return f'<polygon class="lam" points="{frame.path([*scaled, *ends])}"/>'


def _grid(frame: _Frame, ticks: Sequence[float], metric: TaskMetric) -> str:
    return "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{frame.y(tick):.1f}" '
        f'y2="{frame.y(tick):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{frame.y(tick) + 4:.1f}" text-anchor="end">'
        f"{html.escape(_tick_text(tick, ticks, metric))}</text>"
        for tick in ticks
        if tick <= frame.high + 1e-9
    )


def _tick_text(tick: float, ticks: Sequence[float], metric: TaskMetric) -> str:
    """With as many digits as tell all ticks apart."""
    values = [metric.scale * value for value in ticks]
    exact = (n for n in range(6) if all(abs(v - round(v, n)) < 1e-6 for v in values))
    number = f"{metric.scale * tick:.{next(exact, 6)}f}"
    return f"{number}%" if metric.unit == "%" else number


def _steps(frame: _Frame) -> str:
    ticks = [t for t in nice_ticks(0, frame.steps, 7) if t <= frame.steps and t == int(t)]
    base = _HEIGHT - _BOTTOM
    texts = "".join(
        f'<text x="{frame.x(tick):.1f}" y="{base + 16}" text-anchor="middle">{tick:,.0f}</text>'
        for tick in ticks
    )
    middle = frame.x(frame.steps / 2)
    return f'{texts}<text x="{middle:.1f}" y="{base + 34}" text-anchor="middle">step</text>'


def _lam_axis(frame: _Frame, lam: Points) -> str:
    if not lam:
        return ""
    middle = (frame.low + frame.high) / 2
    title = (middle + frame.high) / 2
    marks = ((frame.high, "1"), (title, "λ"), (middle, "0.5"), (frame.low, "0"))
    return "".join(
        f'<text class="lam" x="{_WIDTH - _RIGHT + 6}" y="{frame.y(at) + 4:.1f}">{text}</text>'
        for at, text in marks
    )


def _line(frame: _Frame, line: Line) -> str:
    kind, radius = line.kind, 3 if line.kind == "removed" else 2.2
    marks = "".join(
        f'<circle class="{kind}" cx="{frame.x(step):.1f}" cy="{frame.y(value):.1f}" r="{radius}"/>'
        for step, value in (line.points if line.has_marks else ())
    )
    return f'<polyline class="{kind}" points="{frame.path(line.points)}"/>{marks}'
