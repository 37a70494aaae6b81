"""Two small pictures beside the controls, as SVG text made of numbers only."""

from collections.abc import Sequence

from pclora_lab.methods.pclora.schedules import Points, base_weight_factor
from pclora_lab.nn.counting import ModelCounts
from pclora_lab.plots.palette import COLORS

__all__ = ["schedule_svg", "size_svg"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 254, 74, 34, 8, 20


# Every color here is seen on a light page and on a dark one.
_GUIDE = COLORS["guide"]


_TEXT = 'font-size="11" fill="currentColor"'


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - 8)


def _y(share: float) -> float:
    return _TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM)


def _picture(label: str, body: str) -> str:
    return (
        f'<svg role="img" aria-label="{label}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f'<path d="M{_x(0)} {_y(1)}V{_y(0)}H{_x(1)}" fill="none" stroke="{_GUIDE}"/>{body}</svg>'
    )


def _line(points: Sequence[tuple[float, float]], color: str) -> str:
    path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {_TEXT}>{words}</text>'


def schedule_svg(schedule: str | Points, fade_end: float) -> str:
    """λ from 1 to 0 over the training.

    Example:
        >>> schedule_svg("linear", 0.5).startswith("<svg")
        True
    """
    points = [(i / 100, base_weight_factor(i / 100, schedule, fade_end)) for i in range(101)]
    body = _line(points, COLORS["base"])
    body += _text(2, _y(1) + 4, "λ 1") + _text(10, _y(0) + 4, "0")
    body += _text(_x(0), _HEIGHT - 5, "start") + _text(_x(1), _HEIGHT - 5, "last step", "end")
    body += _text(_x(fade_end), _HEIGHT - 5, f"q {fade_end:.2f}", "middle")
    return _picture("Weight of the base over the training", body)


def size_svg(counts: ModelCounts, rank: int, largest: int) -> str:
    """Parameters of the replaced layers after compression by rank, break-even marked.

    Args:
        counts: trace of the model.
        rank: where the dot stands.
        largest: right end of the rank axis.
    """
    before = sum(layer.params for layer in counts.layers)

    def share(r: float) -> float:
        return sum(layer.low_rank_params(1) * r for layer in counts.layers) / before

    top = max(share(largest), 1)
    even = counts.break_even_rank
    body = _line([(0, 0), (1, share(largest) / top)], COLORS["adapter"])
    body += (
        f'<line x1="{_x(even / largest):.1f}" x2="{_x(even / largest):.1f}" y1="{_y(1)}" '
        f'y2="{_y(0)}" stroke="{_GUIDE}" stroke-dasharray="4 3"/>'
    )
    body += (
        f'<circle cx="{_x(rank / largest):.1f}" cy="{_y(share(rank) / top):.1f}" r="5" '
        f'fill="{COLORS["adapter"]}"/>'
    )
    body += _text(_x(even / largest) - 4, _y(0) - 6, f"break-even {even}", "end")
    body += _text(_x(0), _HEIGHT - 5, "rank 1") + _text(_x(1), _HEIGHT - 5, str(largest), "end")
    body += _text(2, _y(0) + 4, "0%") + _text(0, _y(1) + 4, f"{100 * top:.0f}%")
    return _picture("Size of the replaced layers by rank", body)
