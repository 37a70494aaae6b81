"""What the page around a widget looks like: dark or light, how wide, and whether it answers."""

from pathlib import Path
from typing import Any

import anywidget
import plotly.graph_objects as go
import traitlets

from pclora_lab.ui.widgets.figure import DrawnFigure

__all__ = ["Page", "fit_width", "responsive", "set_options"]

# plotly's own toolbar would offer to upload the chart to a cloud.
_FIGURE_OPTIONS = {"responsive": True, "displaylogo": False, "showSendToCloud": False}


# Left and right of what stands in a tab.
_PADDING = 36


_NARROWEST = 480


class Page(anywidget.AnyWidget):
    """An invisible widget that tells the kernel about the page it is shown in.

    Display it beside the widgets that want to know, then ``page.observe(handler, "dark")``.

    Attributes:
        dark: whether the page is dark: JupyterLab's own theme, or what the browser prefers where
            there is no such theme. Follows every change.
        alive: True once a browser has drawn it, so widgets of our own work in this front end.
        load: another text whenever the page was loaded anew.
        width: room for an output, in CSS pixels; 0 until it is drawn.

    Example:
        >>> page = Page()
        >>> page.dark, page.alive, page.width
        (False, False, 0)
    """

    _esm = Path(__file__).with_name("page.js")

    dark = traitlets.Bool(False).tag(sync=True)
    load = traitlets.Unicode("").tag(sync=True)
    alive = traitlets.Bool(False).tag(sync=True)
    width = traitlets.Int(0).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        # It takes the room's width and no height, so it can measure without being seen.
        self.layout.width, self.layout.height = "100%", "0"
        self.layout.margin, self.layout.overflow = "0", "hidden"


def fit_width(figure: go.FigureWidget, page: Page) -> None:
    """Make a figure that stands in a tab as wide as there is room; nothing before it is known."""
    if page.width:
        width = max(page.width - _PADDING, _NARROWEST)
        if figure.layout.width != width:
            figure.layout.width = width


def set_options(figure: go.FigureWidget) -> None:
    """Let a figure widget take the width there is, and send nothing anywhere."""
    figure._config = {**figure._config, **_FIGURE_OPTIONS}


def responsive(figure: go.Figure) -> go.FigureWidget:
    """A figure widget that takes the width there is, and sends nothing anywhere."""
    widget = DrawnFigure(figure)
    set_options(widget)
    return widget
