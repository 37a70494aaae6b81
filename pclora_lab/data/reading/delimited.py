"""Tables whose fields are separated by a character: every line becomes a row or is counted.

A quotation mark at the start of a field opens a quoted text, which may go on over several lines.
One that is never closed, or closed in the middle of another field, is a character like any other:
only its own line is read so, not all that comes behind it.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pclora_lab.data.account import DataError
from pclora_lab.data.reading.encoding import numbered_lines
from pclora_lab.data.reading.quoting import End, Ends, Line, split_line, split_text
from pclora_lab.data.reading.rows import Rows, RowWriter

__all__ = ["read_delimited"]

_SEPARATORS = ",;\t|"

_SAMPLE = 50

# Lines that were looked at and have had their turn, before they are let go of.
_MOST_WAITING = 10_000

# A column with more different values holds no classes.
_MOST_FAMILIAR = 100


def read_delimited(path: Path) -> Rows:
    """The rows of a CSV or TSV file, every value a word.

    The separator is the usual one of the file's ending if that fits the heading and the first
    lines, or else a semicolon, a tab or a bar.

    Raises:
        DataError: no heading, or bytes that are no characters.
    """
    separator, skipped = _separator(path)
    lines = _Lines(path, skipped)
    heading = next(_records(lines, separator, 0), None)
    if heading is None:
        raise DataError(f"{path.name} has no heading: its first line must name the columns")
    names = _unique(heading.fields)
    writer = RowWriter({name: [] for name in names})
    literal = 0
    for record in _records(lines, separator, len(names)):
        fields, width = record.fields, len(names)
        literal += record.is_literal
        if any(fields[width:]):
            writer.leave(_surplus(record), f"line {record.line}")
            continue
        fields = fields[:width] + [""] * (width - len(fields))
        writer.add(dict(zip(names, fields, strict=True)))
    return writer.rows(_notes(path, literal))


def _surplus(record: "_Record") -> str:
    if record.is_literal:
        return "with a quotation mark that is not closed (double it, or leave it out)"
    return (
        "with more fields than the heading has names (put texts that hold the separator into "
        "quotes)"
    )


def _notes(path: Path, literal: int) -> tuple[str, ...]:
    if not literal:
        return ()
    lines = "1 line has" if literal == 1 else f"{literal:,} lines have"
    return (f"{path.name}: {lines} a lone quotation mark, which is read as a character",)


class _Record(NamedTuple):
    line: int
    fields: list[str]
    is_literal: bool = False


class _Lines:
    """Numbered lines, some of which are looked at before their turn."""

    def __init__(self, path: Path, skipped: int = 0) -> None:
        self.path = path
        self._rest = self._read(skipped)
        # Those from ``_at`` on are to come.
        self._waiting: list[Line] = []
        self._at = 0
        self._familiar: dict[int, set[str]] | None = None
        self._ends: tuple[Ends, ...] = ()
        self._has_escapes = False

    def _read(self, skipped: int) -> Iterator[Line]:
        for line in islice(numbered_lines(self.path), skipped, None):
            if '\\"' in line[1]:
                self._has_escapes = True
            yield line

    def next(self) -> Line | None:
        """The next line with its number, or None behind the last."""
        if self._at >= min(len(self._waiting), _MOST_WAITING):
            del self._waiting[: self._at]
            self._at = 0
        if not self._waiting:
            return next(self._rest, None)
        self._at += 1
        return self._waiting[self._at - 1]

    def ahead(self, places: int) -> Line | None:
        """The line so many places behind the one that came last; None behind the last."""
        while len(self._waiting) - self._at < places:
            more = next(self._rest, None)
            if more is None:
                return None
            self._waiting.append(more)
        return self._waiting[self._at + places - 1]

    def following(self, count: int) -> list[Line]:
        """So many lines, which stay."""
        return self._waiting[self._at : self._at + count]

    def skip(self, count: int) -> None:
        """They do not come any more."""
        self._at += count

    def ends(self, separator: str) -> Iterator[Ends]:
        """Where quoted texts end: as they are, then with backslashes if there are any."""
        if not self._ends:
            self._ends = tuple(Ends(self.ahead, separator, escapes=e) for e in (False, True))
        yield self._ends[0]
        if self._has_escapes:
            yield self._ends[1]

    def familiar(self, separator: str, width: int) -> dict[int, set[str]]:
        """The values of the columns that hold few, in lines that can't be misread."""
        if self._familiar is None:
            self._familiar = _familiar(self.path, separator, width)
        return self._familiar


def _familiar(path: Path, separator: str, width: int) -> dict[int, set[str]]:
    values: dict[int, set[str]] = {column: set() for column in range(width)}
    rows = 0
    for number, line in numbered_lines(path):
        row = line.rstrip("\r\n").split(separator)
        if number == 1 or '"' in line or len(row) != width:
            continue
        rows += 1
        for column in [c for c, seen in values.items() if len(seen) > _MOST_FAMILIAR]:
            del values[column]
        for column, seen in values.items():
            seen.add(row[column])
    most = min(_MOST_FAMILIAR, rows // 2)
    return {column: seen for column, seen in values.items() if len(seen) <= most}


def _records(lines: _Lines, separator: str, width: int) -> Iterator[_Record]:
    """Every record; ``width`` is the number of columns, 0 for the heading alone."""
    while (numbered := lines.next()) is not None:
        number, line = numbered[0], numbered[1].rstrip("\r\n")
        if not line.strip(" \ufeff"):
            continue
        if '"' not in line:
            yield _Record(number, line.split(separator))
        else:
            yield _quoted(lines, numbered, separator, width)
        if not width:
            return


def _quoted(lines: _Lines, first: Line, separator: str, width: int) -> _Record:
    """A record in which there is a quotation mark."""
    text = first[1].rstrip("\r\n")
    for ends in lines.ends(separator):
        fields = split_line(text, separator, escapes=ends.escapes)
        if fields:
            return _Record(first[0], fields)
        if fields is None:
            end, count = ends.of(first)
            record = _long(lines, first, count, ends, width) if end is End.RIGHT else None
            if record is not None:
                return record
            if end is not End.WRONG:
                break
    return _Record(first[0], text.split(separator), is_literal=True)


def _long(lines: _Lines, first: Line, count: int, ends: Ends, width: int) -> _Record | None:
    """A record of more than one line; None where these are rows of their own."""
    taken = [first, *lines.following(count)]
    if _are_rows(taken, ends.separator, width, lines):
        ends.are_rows()
        return None
    text = "".join(line for _, line in taken).rstrip("\r\n")
    fields = split_line(text, ends.separator, escapes=ends.escapes)
    lines.skip(count)
    return _Record(first[0], fields or [])


def _are_rows(taken: list[Line], separator: str, width: int, lines: _Lines) -> bool:
    """Whether the lines of a quoted text are rows of their own, swallowed by two lone marks.

    Each of them has as many fields as the heading, and where a column holds few different values
    in the lines without a quotation mark, such as classes, theirs are among them.
    """
    rows = [line.rstrip("\r\n").split(separator) for _, line in taken]
    if not width or any(len(row) != width for row in rows):
        return False
    known = lines.familiar(separator, width)
    return bool(known) and all(row[i] in values for i, values in known.items() for row in rows)


def _unique(names: list[str]) -> list[str]:
    """Names of columns: those without one are numbered, those that come again as well."""
    made: dict[str, None] = {}
    counts: dict[str, int] = {}
    for number, name in enumerate(names):
        name = base = name.strip().removeprefix("\ufeff") or f"Unnamed: {number}"
        while name in made:
            counts[base] = counts.get(base, 0) + 1
            name = f"{base}.{counts[base]}"
        made[name] = None
    return list(made)


def _separator(path: Path) -> tuple[str, int]:
    """What separates the fields, and how many lines come before the heading."""
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = [
        (number, line.rstrip("\r\n"))
        for number, line in islice(numbered_lines(path), _SAMPLE)
        if line.strip()
    ]
    if not lines:
        return usual, 0
    number, heading = lines[0]
    # A line that spreadsheets write for each other.
    if heading.lower().startswith("sep=") and len(heading.strip()) == 5:
        return heading.strip()[-1], number
    candidates = usual + _SEPARATORS.replace(usual, "")
    return max(candidates, key=lambda one: _fit([line for _, line in lines], one)), 0


def _fit(lines: list[str], separator: str) -> float:
    """Share of lines with as many fields as the heading; 0 for a single column."""
    counts = [len(split_text(line, separator) or line.split(separator)) for line in lines]
    return counts.count(counts[0]) / len(counts) if counts[0] > 1 else 0.0
