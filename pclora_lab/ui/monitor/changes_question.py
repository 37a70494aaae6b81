"""Asking whether a run may go on although it is no longer made from what it was."""

from collections.abc import Callable

import ipywidgets as widgets

from pclora_lab.training.identity.record import RunChanged
from pclora_lab.ui.html import SMALL, button, message_html

__all__ = ["ChangesQuestion"]


class ChangesQuestion:
    """A button beside what pressing it means; hidden until a run was refused.

    Args:
        go_on: takes the run up with what is there now.
        show_errors: runs an action and shows what goes wrong.

    Attributes:
        button: goes on.
        text: what changed is named in it.
        widget: to display.
    """

    def __init__(
        self, go_on: Callable[[], object], show_errors: Callable[[Callable[[], object]], None]
    ) -> None:
        self.button = button(
            "Resume anyway", "play", "go on with what is there now; the result says so",
            lambda: show_errors(go_on), style="warning",
        )  # fmt: skip
        self.text = widgets.HTML()
        self.widget = widgets.HBox([self.button, self.text])
        self.widget.layout.align_items = "center"
        self.widget.add_class("pclora-changes-question")
        self.take_back()

    def ask(self, refused: RunChanged) -> None:
        """Show what changed, and what can be done."""
        what = ", ".join(refused.changed)
        self.text.value = message_html(
            f"Changed since this run began: {what}. Put back what it was and press Resume, or go "
            "on with what is there now; the result then says so.",
            role="alert",
            css=SMALL,
        )
        self.widget.layout.display = ""

    def take_back(self) -> None:
        """Ask nothing."""
        self.text.value = ""
        self.widget.layout.display = "none"
