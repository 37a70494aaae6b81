"""A note on λ that was set by hand, which the settings of a run bring along."""

from collections.abc import Callable

import ipywidgets as widgets

from pclora_lab.training.config import RunConfig
from pclora_lab.ui.closing import refill
from pclora_lab.ui.html import SMALL, MessageBox, button

__all__ = ["OverridesNote"]


class OverridesNote:
    """How often λ is moved by hand, and a button that leaves that out.

    Args:
        on_leave_out: called when somebody wants it left out.

    Attributes:
        widget: to display; empty where λ follows its schedule.
    """

    def __init__(self, on_leave_out: Callable[[], object]) -> None:
        self._on_leave_out = on_leave_out
        self.widget = widgets.VBox()

    def show(self, config: RunConfig) -> None:
        """The note of some settings."""
        count = len(config.overrides)
        if not count:
            return refill(self.widget, ())
        times = "once" if count == 1 else f"{count} times"
        note = MessageBox(SMALL)
        note.show_text(f"λ is moved by hand {times}, as in the run that these settings are from")
        leave_out = button(
            "Leave them out", "", "let the schedule alone move λ",
            self._on_leave_out,
        )  # fmt: skip
        refill(self.widget, (note, leave_out))
