"""Quotation marks in lines of a table: which of them open a text, and where that text ends.

A text that opens in one line and is still open at the start of another ends in the same place,
wherever it was opened. So what is found out about an end is kept for the lines on the way there,
and no line is searched twice: the time stays linear in the file's size, however the marks stand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["End", "Ends", "Line", "split_line", "split_text"]

Line = tuple[int, str]
"""Its number from 1, and its characters with the ending."""

# A quoted text that is longer was never meant to be one.
_LONGEST_LINES = 5000
_LONGEST_TEXT = 16_000_000

_ESCAPED = "\ue000"


class End(Enum):
    """How a quoted text ends."""

    OPEN = auto()
    """Not at all, or beyond what is searched."""
    RIGHT = auto()
    """The last field of a record ends with its line."""
    WRONG = auto()
    """Something else than a separator comes behind the closing mark."""
    ROWS = auto()
    """Rightly, but the lines are rows of their own."""


@dataclass
class _Known:
    """In the lines ``first`` to ``last`` a text that is open at their start ends in ``last``."""

    first: int = 0
    last: int = -1
    end: End = End.OPEN


class Ends:
    """Where texts end that are open at the end of a line.

    Args:
        ahead: the line so many places behind the one that was read last; None behind the last.
        separator: of the fields.
        escapes: whether a backslash takes a mark its meaning.
    """

    def __init__(
        self, ahead: Callable[[int], Line | None], separator: str, *, escapes: bool
    ) -> None:
        self._ahead, self.separator, self.escapes = ahead, separator, escapes
        self._known = _Known()

    def of(self, line: Line) -> tuple[End, int]:
        """How the text ends that is open at the end of a line, and how many lines behind it."""
        number, size, count = line[0], len(line[1]), 1
        known = self._known
        if known.first <= number + 1 <= known.last and known.end is not End.OPEN:
            return known.end, known.last - number
        if known.first <= number + 1 <= known.last + 1 and known.end is End.OPEN:
            count = known.last - number + 1  # it was seen to be open until there
        else:
            known = self._known = _Known(number + 1, number)
        while count <= _LONGEST_LINES and size <= _LONGEST_TEXT:
            found = self._ahead(count)
            if found is None:
                break
            known.last, known.end = number + count, self._through(found[1])
            if known.end is not End.OPEN:
                return known.end, count
            size += len(found[1])
            count += 1
        return End.OPEN, count - 1

    def are_rows(self) -> None:
        """What was found last are rows of their own; so is whatever opens in them."""
        self._known.end = End.ROWS

    def _through(self, line: str) -> End:
        """How a line goes on with a text that is open at its start."""
        if '"' not in line:
            return End.OPEN
        fields = split_line('"' + line.rstrip("\r\n"), self.separator, escapes=self.escapes)
        return End.OPEN if fields is None else End.RIGHT if fields else End.WRONG


def split_line(line: str, separator: str, *, escapes: bool) -> list[str] | None:
    """The fields of a record; None while a quoted text is open, none where it ends wrongly."""
    if not escapes or '\\"' not in line:
        return _fields(line, separator)
    fields = _fields(line.replace('\\"', _ESCAPED), separator)
    return fields and [value.replace(_ESCAPED, '"') for value in fields]


def split_text(text: str, separator: str) -> list[str] | None:
    """The same; backslashes count where it ends wrongly without them."""
    fields = split_line(text, separator, escapes=False)
    return split_line(text, separator, escapes=True) if fields == [] else fields


def _fields(text: str, separator: str) -> list[str] | None:
    fields: list[str] = []
    at = 0
    while True:
        if text.startswith('"', at):
            end = _closing(text, at + 1)
            if end < 0:
                return None
            fields.append(text[at + 1 : end].replace('""', '"'))
            at = end + 1
            if at == len(text):
                return fields
            if text[at] != separator:
                return []
            at += 1
            continue
        end = text.find(separator, at)
        if end < 0:
            return [*fields, text[at:]]
        fields.append(text[at:end])
        at = end + 1


def _closing(text: str, start: int) -> int:
    """Where the quoted text ends; −1 where it does not."""
    while True:
        end = text.find('"', start)
        if end < 0 or not text.startswith('""', end):
            return end
        start = end + 2
