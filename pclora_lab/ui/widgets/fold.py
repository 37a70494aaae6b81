"""A heading that folds what stands below it, for mouse, keyboard and screen reader."""

from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets

__all__ = ["Fold"]


class _Heading(anywidget.AnyWidget):
    """The button: ``aria-expanded``, Enter and Space."""

    _esm = Path(__file__).with_name("fold.js")

    label = traitlets.Unicode("").tag(sync=True)
    is_open = traitlets.Bool(False).tag(sync=True)

    def __init__(self, label: str) -> None:
        super().__init__(label=label)
        self.on_msg(self._take_in)

    def _take_in(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and isinstance(is_open := content.get("open"), bool):
            self.is_open = is_open


class Fold(widgets.VBox):
    """A heading and what it shows when it is open; ipywidgets' own listens to the mouse alone.

    Args:
        label: the heading.

    Attributes:
        heading: the button; its ``is_open`` can be set.
        content: a box; give it children.

    Example:
        >>> fold = Fold("Advanced")
        >>> fold.content.layout.display
        'none'
        >>> fold.heading.is_open = True
        >>> fold.content.layout.display
        ''
    """

    def __init__(self, label: str) -> None:
        self.heading = _Heading(label)
        self.content = widgets.VBox()
        self.content.layout.display = "none"
        super().__init__([self.heading, self.content])
        self.add_class("pclora-fold")
        self.heading.observe(self._show, "is_open")

    def _show(self, _: object) -> None:
        self.content.layout.display = "" if self.heading.is_open else "none"
