"""A matplotlib figure that a notebook shows by itself, and what keeps a figure complete."""

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation, Text
from PIL import Image

from pclora_lab.plots.palette import PAGES
from pclora_lab.plots.theme import current_theme, in_theme, matplotlib_theme

__all__ = ["NotebookFigure", "common_names", "outline", "thinned", "with_styles"]

T = TypeVar("T")
S = TypeVar("S")
_CSS_PIXELS_PER_INCH = 80


class NotebookFigure(Figure):
    """A matplotlib figure that a notebook shows by itself, without pyplot's global state.

    It keeps the theme that was chosen when it was made; see
    :func:`pclora_lab.plots.theme.use_theme`.

    Example:
        >>> figure = NotebookFigure(figsize=(3, 2)).described("An empty frame.")
        >>> figure
        <NotebookFigure: An empty frame.>
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.dark = current_theme() == "dark"
        self.description = ""
        with matplotlib_theme(self.dark):
            super().__init__(*args, **kwargs)

    def described(self, text: str) -> "NotebookFigure":
        """The figure, with what is to be seen in it for people who do not see it."""
        self.description = text
        return self

    def add_subplot(self, *args: Any, **kwargs: Any) -> Axes:
        """As matplotlib's, in the figure's theme."""
        with matplotlib_theme(self.dark):
            return super().add_subplot(*args, **kwargs)

    def draw(self, renderer: Any) -> None:
        """As matplotlib's, in the figure's theme, also where tick labels are only made now."""
        with matplotlib_theme(self.dark):
            if self.dark:
                _darken(self)
            super().draw(renderer)

    def png(self, scale: float = 2.0) -> bytes:
        """The figure as a PNG of ``scale`` pixels per CSS pixel; one inch is 80 of these."""
        drawn, image = io.BytesIO(), io.BytesIO()
        with matplotlib_theme(self.dark):
            self.savefig(drawn, format="png", dpi=_CSS_PIXELS_PER_INCH * scale)
        # 256 colors are enough for curves, and a notebook becomes half as large.
        Image.open(drawn).convert("RGB").quantize(256).save(image, format="png", optimize=True)
        return image.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        # Two pixels per CSS pixel are sharp on a projector; the width keeps the size on the page.
        # ``alt`` is what nbconvert and IPython call the text for those who do not see the picture.
        width = round(self.get_figwidth() * _CSS_PIXELS_PER_INCH)
        return self.png(), {"width": width, "alt": self.description or outline(self)}

    def __repr__(self) -> str:
        return f"<NotebookFigure: {self.description or outline(self)}>"


def _darken(figure: Figure) -> None:
    """Change what a cell drew in this package's light colors, or in matplotlib's, to the dark ones.

    Texts in black or white are left as they are: they stand on a color that was chosen for them.
    """
    frames = [legend.get_frame() for legend in figure.findobj(Legend)]
    named = {text for legend in figure.findobj(Legend) for text in legend.get_texts()}
    for text in figure.findobj(Text):
        if text in named or to_hex(text.get_color()) not in ("#000000", "#ffffff"):
            text.set_color(_dark(text.get_color()))
        if isinstance(text, Annotation) and text.arrow_patch is not None:
            _darken_edges(text.arrow_patch)
    for line in figure.findobj(Line2D):
        line.set_color(_dark(line.get_color()))
        line.set_markerfacecolor(_dark(line.get_markerfacecolor()))
        line.set_markeredgecolor(_dark(line.get_markeredgecolor()))
    for patch in figure.findobj(Patch):
        _darken_edges(patch)
    for frame in frames:
        frame.set_facecolor((*to_rgb(PAGES.dark), frame.get_alpha() or 1.0))


def _darken_edges(patch: Patch) -> None:
    """Of a patch, and what it is filled with."""
    alpha = patch.get_alpha()  # is part of the colors that matplotlib tells, and would count twice
    patch.set_edgecolor(_dark(patch.get_edgecolor()))
    if patch.get_fill():
        patch.set_facecolor(_dark(patch.get_facecolor()))
    patch.set_alpha(alpha)


def _dark(color: Any) -> Any:
    """The dark variant of one of our colors, as transparent as it was; others as they are."""
    if isinstance(color, str) and color in ("auto", "none"):
        return color
    *_, alpha = to_rgba(color)
    hue = in_theme(to_hex(color), dark=True)
    return color if hue.lower() == to_hex(color) else (*to_rgb(hue), alpha)


def outline(figure: Figure) -> str:
    """A figure's titles, axes and legends in words, for one that has no description.

    Example:
        >>> figure = Figure()
        >>> axis = figure.subplots()
        >>> _ = axis.plot([0, 1], [1, 0], label="λ"), axis.set(title="Fade", xlabel="step")
        >>> outline(figure)
        'Fade, over step: λ'
    """
    return "; ".join(filter(None, map(_outline, figure.axes))) or "no axes"


def _outline(axis: Axes) -> str:
    """One of :func:`outline`'s parts; empty for an axis without words, such as a picture."""
    x, y = axis.get_xlabel(), axis.get_ylabel()
    title = ", ".join(filter(None, (axis.get_title(), y, x and f"over {x}")))
    names = axis.get_legend_handles_labels()[1]
    return " ".join(f"{title}: {', '.join(names)}".split()) if names else title


def with_styles(things: Iterable[T], styles: Sequence[S]) -> Iterator[tuple[T, S]]:
    """Each thing with a style; where there are more things than styles, these begin anew.

    Example:
        >>> list(with_styles("abc", "-:"))
        [('a', '-'), ('b', ':'), ('c', '-')]
    """
    return zip(things, itertools.cycle(styles), strict=False)


def common_names(groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names that every group has, in the first one's order.

    Raises:
        ValueError: there is no group, or one has other names: a figure would leave them out.

    Example:
        >>> common_names({"a": {"fc1": 1, "fc2": 2}, "b": {"fc2": 3, "fc1": 4}})
        ['fc1', 'fc2']
    """
    if not groups:
        raise ValueError("there is nothing to draw: pass at least one group of values by name")
    (first, names), *others = ((group, list(values)) for group, values in groups.items())
    for other, others_names in others:
        if odd := sorted(set(names) ^ set(others_names)):
            raise ValueError(
                f"{first!r} and {other!r} do not have the same names ({odd[0]!r} is in one of them "
                "only), so they can't be drawn side by side: leave it out of both"
            )
    return names


def thinned(count: int, most: int) -> list[int]:
    """Evenly spaced indices, not more than ``most``; the first and the last are among them.

    Example:
        >>> thinned(3, 5), thinned(10, 4)
        ([0, 1, 2], [0, 3, 6, 9])
    """
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]
