"""What the page around a widget looks like, dark or light, and whether it answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

__all__ = ["Page"]

_HERE = Path(__file__).parent


def _ignore(_: str, __: bool) -> None:
    """Nobody listens."""


class Page(anywidget.AnyWidget):
    """An invisible widget that tells the kernel about the page it is shown in.

    Display it beside the widgets that want to know, then ``page.observe(handler, "dark")``.

    Attributes:
        dark: whether the page is dark: JupyterLab's own theme, or what the browser prefers where
            there is no such theme. Follows every change.
        on_key: called with a key of the lab that was pressed in it, and whether with Shift; the
            keys are listed in ``page_keys.js``.
        alive: True once a browser has drawn it, so widgets of our own work in this front end.

    Example:
        >>> page = Page()
        >>> page.dark, page.alive
        (False, False)
    """

    _esm = "\n".join((_HERE / name).read_text() for name in ("page_keys.js", "page.js"))
    _css = (_HERE / "lab.css").read_text()

    dark = traitlets.Bool(False).tag(sync=True)
    alive = traitlets.Bool(False).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_key: Callable[[str, bool], object] = _ignore
        self.layout.width, self.layout.height = "100%", "0"
        self.layout.margin, self.layout.overflow = "0", "hidden"
        self.on_msg(self._take_in)

    def _take_in(self, _: Any, content: Any, __: Any) -> None:
        """A browser has told what it looks like, or which key was pressed."""
        if not isinstance(content, dict):
            return
        if isinstance(dark := content.get("dark"), bool):
            self.dark, self.alive = dark, True
        if isinstance(key := content.get("key"), str):
            self.on_key(key, content.get("shift") is True)
