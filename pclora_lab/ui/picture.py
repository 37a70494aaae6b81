"""A picture with words for those who can't see it."""

import base64
import html

__all__ = ["picture_html"]


def picture_html(png: bytes, words: str) -> str:
    """An ``<img>`` that carries its picture, with a description for screen readers.

    Example:
        >>> picture_html(b"png", "a <b>")
        '<img src="data:image/png;base64,cG5n" alt="a &lt;b&gt;" style="max-width:100%">'
    """
    data = base64.b64encode(png).decode("ascii")
    alt = html.escape(words, quote=True)
    return f'<img src="data:image/png;base64,{data}" alt="{alt}" style="max-width:100%">'
