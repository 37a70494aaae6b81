"""Small pieces of a page: texts, errors, buttons, pictures with words for screen readers."""

import base64
import html
from collections.abc import Callable

import ipywidgets as widgets

__all__ = ["button", "error_text", "live_text", "picture_html"]


def picture_html(png: bytes, words: str) -> str:
    """An ``<img>`` that carries its picture, with a description for screen readers.

    Example:
        >>> picture_html(b"png", "a <b>")
        '<img src="data:image/png;base64,cG5n" alt="a &lt;b&gt;" style="max-width:100%">'
    """
    data = base64.b64encode(png).decode("ascii")
    alt = html.escape(words, quote=True)
    return f'<img src="data:image/png;base64,{data}" alt="{alt}" style="max-width:100%">'


def live_text() -> widgets.HTML:
    """An empty text that fits beside the form."""
    return widgets.HTML(layout=widgets.Layout(max_width="610px"))


def error_text(error: BaseException) -> str:
    """An error as text that can't be taken for markup."""
    words = html.escape(str(error) or type(error).__name__)
    style = "color:var(--jp-error-color1, #b00020);line-height:1.35;font-size:12px"
    return f'<div role="alert" style="{style}">{words}</div>'


def button(
    name: str, icon: str, hint: str, action: Callable[[], None], width: str = "154px"
) -> widgets.Button:
    """A button that does something."""
    made = widgets.Button(
        description=name, icon=icon, tooltip=hint, layout=widgets.Layout(width=width)
    )
    made.on_click(lambda _: action())
    return made


def error_html(error: BaseException | str) -> str:
    """An error, or what was written down of one, as text that can't be taken for markup."""
    words = html.escape(error if isinstance(error, str) else f"{type(error).__name__}: {error}")
    style = "color:var(--jp-error-color1,#b00020);line-height:1.35;max-width:640px"
    return f'<div role="alert" style="{style}">{words}</div>'
