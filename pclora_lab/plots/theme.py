"""One set of colors for every figure and picture, on a light page and on a dark one.

Okabe and Ito's colors, which color-blind readers can tell apart. Where one of them would be
fainter than 3:1 on white or on JupyterLab's dark page, each page has its own variant. A color is
stored as its light variant; :func:`in_theme` gives the one that the current page needs.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "COLORS",
    "CYCLE",
    "HUES",
    "Hue",
    "PAGES",
    "INIT_COLORS",
    "apply_theme",
    "contrast",
    "current_theme",
    "in_theme",
    "matplotlib_style",
    "matplotlib_theme",
    "named_color",
    "plotly_template",
    "themed",
    "use_theme",
]


class Hue(NamedTuple):
    """One color as it is drawn on a light page and on a dark one."""

    light: str
    dark: str


# JupyterLab's --jp-layout-color0.
PAGES = Hue("#FFFFFF", "#111111")


HUES = {
    "blue": Hue("#0072B2", "#0072B2"),
    "vermillion": Hue("#B84700", "#D55E00"),
    "sky": Hue("#4A9CCA", "#56B4E9"),
    "orange": Hue("#C58800", "#E69F00"),
    "green": Hue("#009E73", "#009E73"),
    "purple": Hue("#C26C9C", "#CC79A7"),
    "violet": Hue("#4B2BC0", "#7A66FF"),
    "yellow": Hue("#3D3600", "#F0E442"),
    "gray": Hue("#555555", "#BBBBBB"),
    "ink": Hue("#000000", "#FFFFFF"),
    "guide": Hue("#767676", "#8A8A8A"),
}


_THINGS = {
    "base": "blue", "adapter": "vermillion", "teacher": "gray", "student": "blue", "share": "sky",
    "task": "orange", "feature": "green", "logit": "purple", "time": "green", "ink": "ink",
    "guide": "guide",
}  # fmt: skip


_STARTS = {"zeros": "blue", "svd": "orange", "activation_svd": "vermillion"}


# By name, as they are on a light page.
COLORS = {thing: HUES[hue].light for thing, hue in _THINGS.items()}


# For lines that have no name, in turns.
CYCLE = tuple(hue.light for name, hue in HUES.items() if name not in ("gray", "ink", "guide"))


INIT_COLORS = {name: HUES[hue].light for name, hue in _STARTS.items()}


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
        >>> use_theme("dark"); current_theme(), in_theme(COLORS["teacher"])
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


def named_color(name: str) -> str:
    """The light variant of a color of :data:`HUES`; ``#rrggbb`` as it is, ink for other names.

    Example:
        >>> named_color("blue"), named_color("#123456"), named_color("no such color")
        ('#0072B2', '#123456', '#000000')
    """
    return name if name.startswith("#") else HUES.get(name, HUES["ink"]).light


def contrast(first: str, second: str) -> float:
    """WCAG 2's contrast ratio of two ``#rrggbb`` colors: 1 (the same) to 21.

    Example:
        >>> contrast("#000000", "#FFFFFF")
        21.0
    """
    low, high = sorted((_luminance(first), _luminance(second)))
    return round((high + 0.05) / (low + 0.05), 2)


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


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
