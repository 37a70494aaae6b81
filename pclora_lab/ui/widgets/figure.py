"""A plotly figure that a thread may draw while the browser's messages come in."""

import threading
from typing import Any

import plotly.graph_objects as go

__all__ = ["DrawnFigure"]

# A message of the browser takes milliseconds, unless its handler waits for the thread that draws.
_LONGEST_MESSAGE = 1.0


class DrawnFigure(go.FigureWidget):
    """No drawing is lost to a message of the browser that is just being taken in.

    Meanwhile ipywidgets holds back what changes and tells of each trait the last value only. A
    drawing of plotly is a trait that is set and emptied at once, so the browser never heard of it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._taking_in = threading.RLock()
        super().__init__(*args, **kwargs)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take in a message of the browser."""
        with self._taking_in:
            super().set_state(sync_data)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_py2js_"):
            return super().__setattr__(name, value)
        waited = self._taking_in.acquire(timeout=_LONGEST_MESSAGE)
        try:
            super().__setattr__(name, value)
        finally:
            if waited:
                self._taking_in.release()
