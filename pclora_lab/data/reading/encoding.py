"""The characters of a file: UTF-8 and UTF-16, with or without a byte-order mark."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from pclora_lab.data.account import DataError

__all__ = ["encoding_of", "numbered_lines"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_SAMPLE = 4096


def encoding_of(path: Path) -> str:
    """What Python calls the encoding of a file.

    Without a mark it is UTF-8, but for zero bytes in every other place, which only UTF-16 has.
    """
    with path.open("rb") as file:
        head = file.read(_SAMPLE)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = head[start::2]
        if half and half.count(0) > 0.4 * len(half) and head.count(0) < 0.6 * len(head):
            return name
    return "utf-8"


def numbered_lines(path: Path, newline: str = "") -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, from 1; the ending stays with the line.

    Args:
        path: of the file.
        newline: the character that ends a line; empty for all that a table knows.

    Raises:
        DataError: bytes that are no characters; says how many lines, and which is the first.
    """
    encoding = encoding_of(path)
    try:
        with path.open(encoding=encoding, newline=newline) as lines:
            yield from enumerate(lines, start=1)
    except UnicodeError as error:
        raise DataError(_broken(path, encoding)) from error


def _broken(path: Path, encoding: str) -> str:
    if not encoding.startswith("utf-8"):
        return f"{path.name} looks like {encoding}, but has bytes that are no characters: save it "\
            "as UTF-8"  # fmt: skip
    broken, first, count = 0, 0, 0
    with path.open("rb") as lines:
        for count, line in enumerate(lines, start=1):
            try:
                line.decode("utf8")
            except UnicodeDecodeError:
                broken += 1
                first = first or count
    return (
        f"{path.name} is not UTF-8: {broken} of {count} lines have bytes that are no characters, "
        f"line {first} first. Save it as UTF-8, for example with "
        f"iconv -f cp1252 -t utf8 {path.name} > fixed{path.suffix}"
    )
