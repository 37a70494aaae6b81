"""How methods are told apart where they are compared: title, color and mark, from the methods."""

from typing import NamedTuple

from pclora_lab.methods.registry import METHODS
from pclora_lab.plots.palette import named_color

__all__ = ["MARKERS", "MethodStyle", "method_style", "method_styles"]

# matplotlib's names of marks, and plotly's.
MARKERS = {
    "o": "circle", "s": "square", "v": "triangle-down", "^": "triangle-up", "D": "diamond",
    "P": "cross", "X": "x", "*": "star", "<": "triangle-left", ">": "triangle-right",
    "p": "pentagon", "h": "hexagon", "d": "diamond-tall", ".": "circle",
}  # fmt: skip


class MethodStyle(NamedTuple):
    """How a method's points look; the color as it is on a light page, the mark as matplotlib's."""

    title: str
    color: str
    marker: str


def method_style(name: str) -> MethodStyle:
    """The style of a method; of one that is not installed, its name in ink.

    Example:
        >>> method_style("pela").marker, method_style("of another package").title
        ('D', 'of another package')
    """
    if name not in METHODS:
        return MethodStyle(name, named_color("ink"), ".")
    method = METHODS[name]
    marker = method.marker if method.marker in MARKERS else "."
    return MethodStyle(method.title, named_color(method.color), marker)


def method_styles() -> dict[str, MethodStyle]:
    """The style of every method, by name."""
    return {name: method_style(name) for name in METHODS}
