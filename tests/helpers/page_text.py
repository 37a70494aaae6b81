"""A page of HTML as a reader sees it, and what would reach outside it or run in it."""

from html.parser import HTMLParser

_EMPTY = {"meta", "img", "br", "line", "circle", "polyline", "polygon", "!doctype"}
_HIDDEN = {"style", "title", "script"}


class Page(HTMLParser):
    """Read a page.

    Attributes:
        words: all text that is shown, in one line, with plain spaces.
        tags: how often each element is there.
        addresses: what any ``src``, ``href`` or ``data`` names.
        handlers: attributes that would run a script.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._open: list[str] = []
        self._parts: list[str] = []
        self.tags: dict[str, int] = {}
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {self._open}"
        self.words = " ".join("".join(self._parts).split())

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.addresses += [v for n, v in attrs if n in ("src", "href", "xlink:href", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self._parts.append(" " if tag not in ("b", "bdi", "small", "code", "i") else "")
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self._open and self._open[-1] == tag, f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()
        self._parts.append(" " if tag not in ("b", "bdi", "small", "code", "i") else "")

    def handle_data(self, data):
        if not _HIDDEN & set(self._open):
            self._parts.append(data.replace("\u00a0", " "))
