"""Small pieces of a page: messages, errors, buttons, pictures with words for screen readers."""

import base64
import html
from collections.abc import Callable

import ipywidgets as widgets

from pclora_lab.wording import explained

__all__ = ["SMALL", "MessageBox", "button", "error_html", "live_text", "message_html"]
__all__ += ["picture_html"]

SMALL = "line-height:1.35;font-size:12px"
_CALM = "line-height:1.4"
_ERROR = "color:var(--jp-error-color1,#b00020)"


def picture_html(png: bytes, words: str) -> str:
    """An ``<img>`` that carries its picture, with a description for screen readers.

    Example:
        >>> picture_html(b"png", "a <b>")
        '<img src="data:image/png;base64,cG5n" alt="a &lt;b&gt;" style="max-width:100%">'
    """
    data = base64.b64encode(png).decode("ascii")
    alt = html.escape(words, quote=True)
    return f'<img src="data:image/png;base64,{data}" alt="{alt}" style="max-width:100%">'


def message_html(text: str, *, role: str = "status", css: str = _CALM) -> str:
    """A text that can't be taken for markup and that a screen reader reads out.

    Args:
        text: anything, also what a person or a file brought in.
        role: ``status`` waits until the reader is silent, ``alert`` interrupts it.
        css: how it looks.

    Example:
        >>> message_html("a <b>", css="")
        '<div role="status" style="">a &lt;b&gt;</div>'
    """
    return f'<div role="{role}" style="{css}">{html.escape(text)}</div>'


def error_html(error: BaseException | str, *, with_type: bool = True, css: str = "") -> str:
    """An error, or what was written down of one, as a message in the color of errors.

    Args:
        error: what was raised, or its text.
        with_type: whether the exception's type stands before its text.
        css: how it looks besides.
    """
    text = str(error)
    if isinstance(error, BaseException):
        name = type(error).__name__
        text = f"{name}: {explained(error)}" if with_type else explained(error) or name
    css = css or "line-height:1.35;max-width:640px"
    return message_html(text, role="alert", css=f"{_ERROR};{css}")


class MessageBox(widgets.HTML):
    """Where a part of the lab shows one text or one error at a time.

    Args:
        css: how texts and errors look.
        with_type: whether an exception's type stands before its text.
        options: of the widget.

    Example:
        >>> box = MessageBox()
        >>> box.show_errors(lambda: 1 / 0)
        >>> "division by zero" in box.value
        True
    """

    def __init__(self, css: str = _CALM, *, with_type: bool = False, **options: object) -> None:
        super().__init__(**{"tooltip": "", **options})  # the page writes "null" for none
        self._css, self._with_type = css, with_type

    def clear(self) -> None:
        """Show nothing."""
        self.value = ""

    def show_text(self, text: str) -> None:
        """Show a text; it is escaped."""
        self.value = message_html(text, css=self._css) if text else ""

    def show_error(self, error: BaseException | str) -> None:
        """Show what went wrong."""
        self.value = error_html(error, with_type=self._with_type, css=self._css)

    def show_errors(self, action: Callable[[], object], *, clear: bool = True) -> None:
        """Do it; an exception in a callback or a thread would vanish: show it instead.

        Args:
            action: what a person asked for.
            clear: whether an earlier message goes first.
        """
        if clear:
            self.clear()
        try:
            action()
        except Exception as error:  # noqa: BLE001 - shown to the person who clicked
            self.show_error(error)


def live_text() -> MessageBox:
    """An empty text in small print that fits beside the form."""
    return MessageBox(SMALL, layout=widgets.Layout(max_width="610px"))


def button(
    text: str,
    icon: str,
    hint: str,
    action: Callable[[], object],
    *,
    width: str = "auto",
    style: str = "",
    disabled: bool = False,
) -> widgets.Button:
    """A button that does something.

    Args:
        text: on the button.
        icon: Font Awesome's name of the picture before it.
        hint: shown when the pointer rests on it.
        action: called without arguments at every click.
        width: in CSS.
        style: ipywidgets' name of its color: primary, success, warning, danger or "".
        disabled: whether it can't be pressed yet.
    """
    made = widgets.Button(
        description=text,
        icon=icon,
        tooltip=hint,
        button_style=style,
        disabled=disabled,
        layout=widgets.Layout(width=width),
    )
    made.on_click(lambda _: action())
    return made
