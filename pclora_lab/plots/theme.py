"""Figures and pictures on a light page and on a dark one, in matplotlib and in plotly.

Colors are those of :mod:`pclora_lab.plots.palette`; :func:`in_theme` gives the variant that the
current page needs.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pclora_lab.plots.palette import CYCLE, HUES, PAGES, Hue

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "apply_theme",
    "current_theme",
    "in_theme",
    "matplotlib_style",
    "matplotlib_theme",
    "plotly_template",
    "themed",
    "use_theme",
]

_TEXT = Hue("#1F1F1F", "#E6E6E6")
_GRID = Hue("#DDDDDD", "#3A3A3A")
_BOX = Hue("rgba(255,255,255,0.75)", "rgba(17,17,17,0.75)")
_TRANSPARENT = "rgba(0,0,0,0)"
_SIZE = 12
_VARIANTS = {variant.lower(): hue for hue in (*HUES.values(), _TEXT, _GRID) for variant in hue}
_THEMES = ("light", "dark")
_chosen = "light"
# matplotlib's parameters belong to the process: two threads must not change them in turns.
_parameters = threading.RLock()


def use_theme(name: str) -> None:
    """Choose the page that new figures of this package are made for.

    Args:
        name: ``light`` or ``dark``.

    Raises:
        ValueError: another name.

    Example:
        >>> use_theme("dark"); current_theme(), in_theme("#555555")
        ('dark', '#BBBBBB')
        >>> use_theme("light")
    """
    global _chosen
    if name not in _THEMES:
        raise ValueError(f"theme is {name!r}: use one of {', '.join(_THEMES)}")
    _chosen = name


def current_theme() -> str:
    """``light`` or ``dark``, as :func:`use_theme` was told last."""
    return _chosen


def _is_dark(dark: bool | None) -> bool:
    return _chosen == "dark" if dark is None else dark


def in_theme(color: str, dark: bool | None = None) -> str:
    """The variant of a color for a page; a color that is not one of ours stays as it is.

    Args:
        color: ``#rrggbb``, either variant.
        dark: which page; None takes the chosen theme's.

    Example:
        >>> in_theme("#555555", dark=True), in_theme("#BBBBBB", dark=False), in_theme("red")
        ('#BBBBBB', '#555555', 'red')
    """
    hue = _VARIANTS.get(color.lower())
    return color if hue is None else hue[_is_dark(dark)]


def _cycle(dark: bool) -> list[str]:
    return [in_theme(color, dark) for color in CYCLE]


def matplotlib_style(dark: bool | None = None) -> dict[Any, Any]:
    """matplotlib's parameters for a page, for ``matplotlib.rc_context`` or ``rcParams.update``.

    The figure has the page's own background, because a stored picture can't change with the page.

    Example:
        >>> matplotlib_style(dark=True)["figure.facecolor"]
        '#111111'
    """
    # Here, because it costs half a second that a training script need not pay.
    from cycler import cycler

    dark = _is_dark(dark)
    page, text, grid = PAGES[dark], _TEXT[dark], _GRID[dark]
    pages = ("figure.facecolor", "axes.facecolor", "legend.facecolor", "savefig.facecolor")
    texts = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
    edges = ("axes.edgecolor", "legend.edgecolor", "hatch.color", "patch.edgecolor")
    return {
        **dict.fromkeys(pages, page),
        **dict.fromkeys(texts, text),
        **dict.fromkeys(edges, HUES["guide"][dark]),
        "grid.color": grid,
        "grid.alpha": 1.0,
        "axes.axisbelow": True,
        "legend.framealpha": 0.75,
        "axes.prop_cycle": cycler(color=_cycle(dark)),
    }


@contextmanager
def matplotlib_theme(dark: bool | None = None) -> Iterator[None]:
    """Inside, matplotlib draws for a page; one thread at a time."""
    import matplotlib

    with _parameters, matplotlib.rc_context(matplotlib_style(dark)):
        yield


P = ParamSpec("P")
T = TypeVar("T")


def themed(function: Callable[P, T]) -> Callable[P, T]:
    """A function that makes a matplotlib figure, made to draw it in the chosen theme."""

    @functools.wraps(function)
    def draw(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib_theme():
            return function(*args, **kwargs)

    return draw


def plotly_template(dark: bool | None = None) -> "go.layout.Template":
    """A template without a background of its own, so that the page shows through.

    Example:
        >>> plotly_template(dark=True).layout.font.color
        '#E6E6E6'
    """
    import plotly.graph_objects as go

    dark = _is_dark(dark)
    grid, guide = _GRID[dark], HUES["guide"][dark]
    axis = {
        "gridcolor": grid, "linecolor": guide, "zerolinecolor": guide, "tickcolor": guide,
        "zerolinewidth": 1, "automargin": True, "title": {"standoff": 8},
    }  # fmt: skip
    layout = {
        "paper_bgcolor": _TRANSPARENT,
        "plot_bgcolor": _TRANSPARENT,
        "font": {"color": _TEXT[dark], "size": _SIZE},
        "colorway": _cycle(dark),
        "legend": {"bgcolor": _BOX[dark]},
        "modebar": {"bgcolor": _TRANSPARENT, "color": guide, "activecolor": _TEXT[dark]},
        "hoverlabel": {"bgcolor": PAGES[dark], "font": {"color": _TEXT[dark]}},
        "xaxis": axis,
        "yaxis": axis,
    }
    return go.layout.Template(layout=layout)


def apply_theme(figure: "go.Figure", dark: bool | None = None) -> "go.Figure":
    """Switch a plotly figure (or widget) to a page: background, text, grid and line colors.

    Args:
        figure: is changed, in one update, and returned.
        dark: which page; None takes the chosen theme's.
    """
    dark = _is_dark(dark)
    with figure.batch_update():
        figure.layout.template = plotly_template(dark)
        names = figure.layout.to_plotly_json()
        for name in [n for n in names if n == "legend" or n[6:].isdigit() and n[:6] == "legend"]:
            figure.layout[name].bgcolor = _BOX[dark]
        for trace in figure.data:
            _recolor(trace, ("line", "marker", "marker.line", "error_x", "error_y"), dark)
        for mark in (*figure.layout.shapes, *figure.layout.annotations):
            _recolor(mark, ("line", "font"), dark)
    return figure


def _recolor(drawn: Any, parts: tuple[str, ...], dark: bool) -> None:
    for part in parts:
        if part in drawn:
            old = drawn[part].color if "color" in drawn[part] else None
            if isinstance(old, str) and in_theme(old, dark) != old:
                drawn[part].color = in_theme(old, dark)
