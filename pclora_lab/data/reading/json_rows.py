"""JSON as rows: one object a line, or a list of objects; read one after the other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pclora_lab.data.account import DataError
from pclora_lab.data.reading.encoding import encoding_of, numbered_lines
from pclora_lab.data.reading.rows import Rows, RowWriter

__all__ = ["read_json_rows"]

_MOST_DIGITS = 400

_BLANK = re.compile(r"[ \t\r\n]*")

_SURROGATE = re.compile("[\ud800-\udfff]")


def read_json_rows(path: Path) -> Rows:
    """The objects of a file, every value a word; what is no word is kept as JSON.

    Raises:
        DataError: no object in it, a list that breaks off, or bytes that are no characters.
    """
    writer = RowWriter()
    for where, value in _values(path):
        if isinstance(value, _Broken):
            writer.leave(f"that can't be read as JSON ({value.reason})", where)
        elif not isinstance(value, dict) or not value:
            writer.leave("that is no object with values", where)
        elif _is_broken(row := _row(value)):
            writer.leave("with half a character (a lone surrogate)", where)
        else:
            writer.add(row)
    rows = writer.rows()
    if rows.found == 1 and rows.table.num_rows and _is_turned(rows.table.to_pylist()[0]):
        raise DataError(
            f"{path.name} is one object whose values are lists or objects: write one object for "
            'each example, with pandas to_json(orient="records")'
        )
    if not rows.table.num_rows:
        reasons = "; ".join(map(str, rows.left_out)) or "there is nothing in it"
        raise DataError(f"{path.name} is no list of objects, one for each example: {reasons}")
    return rows


class _Broken:
    def __init__(self, error: Exception) -> None:
        self.reason = getattr(error, "msg", None) or str(error) or type(error).__name__
        if isinstance(error, RecursionError):
            self.reason = "lists or objects stand in each other, deeper than can be read"


def _is_turned(row: dict[str, str | None]) -> bool:
    """Whether every value is a whole column, or the rows stand below a name."""
    return all((word or "").startswith(("[", "{")) for word in row.values())


def _is_broken(row: dict[str, str | None]) -> bool:
    return any(_SURROGATE.search(f"{key}{word}") for key, word in row.items())


def _row(value: dict[str, object]) -> dict[str, str | None]:
    return {key: _word(one) for key, one in value.items()}


def _word(value: object) -> str | None:
    # A whole number may have more digits than Python writes.
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _whole(digits: str) -> int | str:
    """Python refuses to read more than 4300 digits; every value becomes a word all the same."""
    return int(digits) if len(digits) < _MOST_DIGITS else digits


def _parse(text: str) -> object:
    try:
        return json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        return _Broken(error)


def _values(path: Path) -> Iterator[tuple[str, object]]:
    lines = numbered_lines(path, newline="\n")
    first = next(((n, line) for n, line in lines if line.strip()), None)
    if first is None:
        return
    if first[1].lstrip().startswith("["):
        yield from _list(path)
        return
    yield f"line {first[0]}", _parse(first[1])
    yield from ((f"line {n}", _parse(line)) for n, line in lines if line.strip())


def _list(path: Path) -> Iterator[tuple[str, object]]:
    """The elements of a list, decoded one by one: all at once take ten times the room."""
    text = path.read_text(encoding=encoding_of(path))
    decode, at, number = json.JSONDecoder(parse_int=_whole).raw_decode, text.index("[") + 1, 0
    while True:
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            return
        try:
            value, at = decode(text, at)
        except (ValueError, RecursionError) as error:
            reason = _Broken(error).reason
            raise DataError(
                f"{path.name} breaks off or is no JSON behind element {number}: {reason}"
            ) from error
        number += 1
        yield f"element {number}", value
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1] != "]":
            raise DataError(f"{path.name} breaks off behind element {number}: ] is missing")


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at
