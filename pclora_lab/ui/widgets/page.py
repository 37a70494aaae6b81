"""What the page around a widget looks like, dark or light, and whether it answers."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

__all__ = ["Page"]


class Page(anywidget.AnyWidget):
    """An invisible widget that tells the kernel about the page it is shown in.

    Display it beside the widgets that want to know, then ``page.observe(handler, "dark")``.

    Attributes:
        dark: whether the page is dark: JupyterLab's own theme, or what the browser prefers where
            there is no such theme. Follows every change.
        alive: True once a browser has drawn it, so widgets of our own work in this front end.

    Example:
        >>> page = Page()
        >>> page.dark, page.alive
        (False, False)
    """

    _esm = Path(__file__).with_name("page.js")
    _css = Path(__file__).with_name("lab.css")

    dark = traitlets.Bool(False).tag(sync=True)
    alive = traitlets.Bool(False).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.layout.width, self.layout.height = "100%", "0"
        self.layout.margin, self.layout.overflow = "0", "hidden"
        self.on_msg(self._take_in)

    def _take_in(self, _: Any, content: Any, __: Any) -> None:
        """A browser has told what it looks like."""
        if isinstance(content, dict) and isinstance(dark := content.get("dark"), bool):
            self.dark, self.alive = dark, True
