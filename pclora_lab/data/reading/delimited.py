"""Tables whose fields are separated by a character: every line becomes a row or is counted.

A quotation mark at the start of a field opens a quoted text, which may go on over several lines.
One that is never closed, or closed in the middle of another field, is a character like any other:
only its own line is read so, not all that comes behind it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from pclora_lab.data.account import DataError
from pclora_lab.data.reading.encoding import numbered_lines
from pclora_lab.data.reading.rows import Rows, RowWriter

__all__ = ["read_delimited"]

_SEPARATORS = ",;\t|"

_SAMPLE = 50

# A quoted text that is longer was never meant to be one.
_LONGEST_LINES = 5000
_LONGEST_TEXT = 16_000_000

_ESCAPED = "\ue000"

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


@dataclass(frozen=True)
class _Record:
    line: int
    fields: list[str]
    is_literal: bool = False


@dataclass
class _Lines:
    """Numbered lines without their ending, of which some can be put back."""

    path: Path
    skipped: int = 0
    _again: deque[tuple[int, str]] = field(default_factory=deque)
    _familiar: dict[int, set[str]] | None = None

    def __post_init__(self) -> None:
        self._rest = (line for line in numbered_lines(self.path) if line[0] > self.skipped)

    def next(self) -> tuple[int, str] | None:
        """The next line with its number, or None behind the last."""
        return self._again.popleft() if self._again else next(self._rest, None)

    def put_back(self, lines: list[tuple[int, str]]) -> None:
        """They come next, in this order."""
        self._again.extendleft(reversed(lines))

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


def _quoted(lines: _Lines, first: tuple[int, str], separator: str, width: int) -> _Record:
    """A record in which there is a quotation mark."""
    taken, size = [first], len(first[1])
    fields = _split(first[1].rstrip("\r\n"), separator)
    while fields is None and (more := lines.next()) is not None:
        taken.append(more)
        if '"' in more[1]:
            fields = _split("".join(line for _, line in taken).rstrip("\r\n"), separator)
        size += len(more[1])
        if len(taken) > _LONGEST_LINES or size > _LONGEST_TEXT:
            break
    if not fields or (len(taken) > 1 and _are_rows(taken, separator, width, lines)):
        lines.put_back(taken[1:])
        line = first[1].rstrip("\r\n")
        return _Record(first[0], line.split(separator), is_literal=True)
    return _Record(first[0], fields)


def _are_rows(taken: list[tuple[int, str]], separator: str, width: int, lines: _Lines) -> bool:
    """Whether the lines of a quoted text are rows of their own, swallowed by two lone marks.

    Each of them has as many fields as the heading, and where a column holds few different values
    in the lines without a quotation mark, such as classes, theirs are among them.
    """
    rows = [line.rstrip("\r\n").split(separator) for _, line in taken]
    if not width or any(len(row) != width for row in rows):
        return False
    known = lines.familiar(separator, width)
    return bool(known) and all(row[i] in values for i, values in known.items() for row in rows)


def _split(text: str, separator: str) -> list[str] | None:
    """The fields of a record; None while a quoted text is open, none where it ends wrongly."""
    fields = _fields(text, separator)
    if fields == [] and '\\"' in text:
        escaped = _fields(text.replace('\\"', _ESCAPED), separator)
        return escaped and [value.replace(_ESCAPED, '"') for value in escaped]
    return fields


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
    counts = [len(_split(line, separator) or line.split(separator)) for line in lines]
    return counts.count(counts[0]) / len(counts) if counts[0] > 1 else 0.0
