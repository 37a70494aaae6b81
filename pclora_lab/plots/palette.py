"""The colors of every figure: Okabe and Ito's, which color-blind readers can tell apart.

Where one of them would be fainter than 3:1 on white or on JupyterLab's dark page, each page has its
own variant. A color is stored as its light variant; :mod:`pclora_lab.plots.theme` draws it in the
one that the current page needs.
"""

from typing import NamedTuple

__all__ = [
    "COLORS",
    "CYCLE",
    "HUES",
    "Hue",
    "INIT_COLORS",
    "PAGES",
    "contrast",
    "named_color",
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
