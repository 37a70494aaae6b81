"""A task's metric and size over rank, as an SVG of numbers and the names of the metric."""

import math
from collections.abc import Sequence
from html import escape

from pclora_lab.nn.counting import ModelCounts
from pclora_lab.plots.palette import COLORS
from pclora_lab.runs.estimates.accuracy import AccuracyEstimate, RankPoint
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric

__all__ = ["rank_svg"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 190, 44, 46, 24, 40


_TEXT = 'font-size="11" fill="currentColor"'


# Both are seen on a light page and on a dark one; the line is dashed, the runs are dots.
_SIZE, _RUN, _GUIDE = COLORS["base"], COLORS["adapter"], COLORS["guide"]


def rank_svg(
    counts: ModelCounts,
    params: int,
    points: Sequence[RankPoint],
    estimate: AccuracyEstimate | None = None,
    metric: TaskMetric = ACCURACY,
) -> str:
    """Size of the whole model as a line, finished runs as dots, the chosen size as an upright.

    Runs whose ranks differ by layer stand at the one rank that has as many parameters.

    Args:
        counts: trace of the dense model.
        params: of the finished model as it is chosen now.
        points: finished runs; the error bars are one standard deviation.
        estimate: what they let one expect at the chosen size.
        metric: what is drawn of the runs.

    Example:
        A dot for the run, and one in the legend:

        >>> from pclora_lab.nn.counting import LayerCount
        >>> layer = LayerCount("fc", 64, 64, True, 1, 4)
        >>> counts = ModelCounts((layer,), params=5000, macs=4096, bytes=20000)
        >>> rank_svg(counts, 2000, [RankPoint(8, 2000, 0.9, None, 1)]).count("<circle")
        2
    """
    picture = _Picture(counts, points, metric)
    x = picture.x(picture.rank_of(params))
    body = picture.axes() + _line([(x, _TOP), (x, _HEIGHT - _BOTTOM)], _GUIDE, 1, "2 3")
    ends = range(1, max(2, counts.largest_rank) + 1)
    size = [(picture.x(r), picture.y_size(picture.params_of(r))) for r in ends]
    body += _line(size, _SIZE, 2, "6 3")
    for point in points:
        at = picture.x(point.rank or picture.rank_of(point.params))
        body += picture.whisker(at, point.mean, point.std)
        body += _shape("circle", at, picture.y(point.mean), _RUN)
    if estimate is not None and estimate.mean is not None:
        body += picture.whisker(x, estimate.mean, estimate.std)
        body += _shape("diamond", x, picture.y(estimate.mean), "none")
    body += _legend(bool(points), estimate is not None and estimate.mean is not None)
    label = f"Size of the whole model and {escape(metric.label)} of finished runs over rank"
    return (
        f'<svg role="img" aria-label="{label}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" style="max-width:100%">{body}</svg>'
    )


class _Picture:
    """Where ranks, sizes and scores stand."""

    def __init__(
        self, counts: ModelCounts, points: Sequence[RankPoint], metric: TaskMetric
    ) -> None:
        self.counts, self.metric = counts, metric
        self.fixed = counts.params - sum(la.params for la in counts.layers)
        self.fixed += sum(la.low_rank_params(0) for la in counts.layers)
        self.each = self.params_of(1) - self.fixed
        self.largest = max(2, counts.largest_rank, *(self.rank_of(p.params) for p in points), 2)
        ends = [p.mean + s * (p.std or 0) for p in points for s in (-1, 1)] or [0.0, 1.0]
        # Twentieths of a share; of another number, of what it spans or is.
        step = 1.0 if metric.low == 0 and metric.high == 1 else max(ends) - min(ends) or max(ends)
        step = abs(step) / 20 or 1.0
        self.low = max(metric.low, step * math.floor(min(ends) / step - 0.2))
        self.high = min(metric.high, step * math.ceil(max(ends) / step + 0.2))

    def params_of(self, rank: float) -> float:
        """Parameters of the whole model at one rank for all layers."""
        return self.fixed + rank * sum(
            la.low_rank_params(1) - la.low_rank_params(0) for la in self.counts.layers
        )

    def rank_of(self, params: int) -> float:
        """The inverse; at least 1, so that it has a place on a logarithmic axis."""
        return max(1.0, (params - self.fixed) / self.each)

    def x(self, rank: float) -> float:
        share = math.log(rank) / math.log(self.largest)
        return _LEFT + min(share, 1.0) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, score: float) -> float:
        share = (score - self.low) / (self.high - self.low)
        return _TOP + (1 - min(max(share, 0.0), 1.0)) * (_HEIGHT - _TOP - _BOTTOM)

    def y_size(self, params: float) -> float:
        return _TOP + (1 - params / self.counts.params) * (_HEIGHT - _TOP - _BOTTOM)

    def whisker(self, x: float, mean: float, std: float | None) -> str:
        if not std:
            return ""
        return _line([(x, self.y(mean - std)), (x, self.y(mean + std))], _RUN, 1.5)

    def axes(self) -> str:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        frame = [(_LEFT, _TOP), (_LEFT, bottom), (right, bottom), (right, _TOP)]
        body = _line(frame, _GUIDE, 1)
        for share in (0.0, 0.5, 1.0):
            y = bottom - share * (bottom - _TOP) + 4
            score = self.metric.scale * (self.low + share * (self.high - self.low))
            body += _text(_LEFT - 5, y, f"{score:.3g}", "end")
            body += _text(right + 5, y, f"{100 * share:.0f}")
        for rank in _ticks(self.largest):
            body += _text(self.x(rank), bottom + 14, str(rank), "middle")
        unit = f" ({self.metric.unit})" if self.metric.unit else ""
        body += _text(2, 12, escape(self.metric.label + unit)) + _text(
            _WIDTH - 2, 12, "size (%)", "end"
        )
        return body + _text((_LEFT + right) / 2, _HEIGHT - 12, "rank (log scale)", "middle")


def _ticks(largest: float) -> list[int]:
    """Powers of 2 or 4, few enough to be read."""
    step = 2 if largest <= 128 else 4
    return [step**n for n in range(20) if step**n <= largest]


def _legend(has_runs: bool, has_estimate: bool) -> str:
    y, body = 8.0, _line([(96, 8), (120, 8)], _SIZE, 2, "6 3") + _text(125, 12, "size")
    if has_runs:
        body += _shape("circle", 168, y, _RUN) + _text(178, 12, "finished runs ± std")
    if has_estimate:
        body += _shape("diamond", 302, y, "none") + _text(312, 12, "expected")
    return body


def _line(points: Sequence[tuple[float, float]], color: str, width: float, dash: str = "") -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"{dashes}/>'
    )


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {_TEXT}>{words}</text>'


def _shape(kind: str, x: float, y: float, fill: str) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{fill}"/>'
    path = f"M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z"
    return f'<path d="{path}" fill="{fill}" stroke="{_RUN}" stroke-width="2"/>'
