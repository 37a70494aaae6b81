"""Buttons of which one is pressed: sizes, presets. The page hears which one it is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import anywidget
import traitlets

__all__ = ["Choice", "Choices"]


class Choice(TypedDict):
    """One of the buttons.

    Attributes:
        value: what is chosen by it.
        label: on the button.
        note: below its label, in small print.
        why: the reason that it can't be pressed, in place of the note; it can where there is none.
    """

    value: str
    label: str
    note: NotRequired[str]
    why: NotRequired[str]


class Choices(anywidget.AnyWidget):
    """A group of buttons, at most one of them pressed (``aria-pressed``).

    One stop for the Tab key; the arrow keys lead from button to button.

    Args:
        choices: the buttons.
        label: of the group, spoken, and shown before it unless there are columns.
        value: of the button that is pressed.
        columns: how many buttons stand beside each other; 0 puts all of them into one row.
        hint: help.

    Attributes:
        value: of the button that is pressed, ``""`` for none; observe it, or set it.

    Example:
        >>> sizes = Choices([{"value": "rank", "label": "rank"}], label="size by")
        >>> sizes.press("rank")
        >>> sizes.value
        'rank'
    """

    _esm = Path(__file__).with_name("choices.js")
    _css = Path(__file__).with_name("choices.css")

    choices: "traitlets.List[Choice]" = traitlets.List().tag(sync=True)
    value = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    columns = traitlets.Int(0).tag(sync=True)
    hint = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        choices: Sequence[Choice],
        *,
        label: str,
        value: str = "",
        columns: int = 0,
        hint: str = "",
    ) -> None:
        super().__init__(
            choices=list(choices), label=label, value=value, columns=columns, hint=hint
        )
        self._on_press: list[Callable[[str], object]] = []
        self.on_msg(self._take_in)

    def on_press(self, action: Callable[[str], object]) -> None:
        """Call something with the value of each button that is pressed, also of the same again."""
        self._on_press.append(action)

    def press(self, value: str) -> None:
        """What a click does.

        Raises:
            ValueError: there is no such button, or it can't be pressed.
        """
        found = next((choice for choice in self.choices if choice["value"] == value), None)
        if found is None or found.get("why"):
            reason = "there is no such choice" if found is None else found.get("why")
            raise ValueError(f"{value!r} can't be chosen: {reason}")
        self.value = value
        for action in self._on_press:
            action(value)

    def _take_in(self, _: Any, content: Any, __: Any) -> None:
        pressed = content.get("pressed") if isinstance(content, dict) else None
        for choice in self.choices:
            if choice["value"] == pressed and not choice.get("why"):
                self.press(choice["value"])
