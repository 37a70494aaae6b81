"""A button that shows a text to copy, made when it is pressed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

__all__ = ["CopyText"]


class CopyText(anywidget.AnyWidget):
    """A button and, once it was pressed, a text area that can only be read.

    The page also puts the text on the clipboard, where the browser lets it.

    Args:
        label: on the button.
        make: the text as it is now; ``""`` where there is none, which hides the area.

    Attributes:
        text: what is shown.

    Example:
        >>> script = CopyText("Copy as Python", lambda: "print(1)")
        >>> script.press()
        >>> script.text
        'print(1)'
    """

    _esm = Path(__file__).with_name("copy_text.js")

    label = traitlets.Unicode("").tag(sync=True)
    text = traitlets.Unicode("").tag(sync=True)
    presses = traitlets.Int(0).tag(sync=True)

    def __init__(self, label: str, make: Callable[[], str]) -> None:
        super().__init__(label=label)
        self._make = make
        self.on_msg(self._take_in)

    def press(self) -> None:
        """What a click does."""
        self.text = self._make()
        self.presses += 1

    def clear(self) -> None:
        """Hide a text that is not true any more."""
        self.text = ""

    def _take_in(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and content.get("press") is True:
            self.press()
