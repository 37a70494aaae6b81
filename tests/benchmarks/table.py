"""The results of ``make bench`` as markdown: ``python tests/benchmarks/table.py FOLDER``."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def rows(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every number of a record with its place in it.

    Example:
        >>> list(rows({"a": {"b": 1.23456}, "c": [2], "d": "text"}))
        [('a, b', '1.235'), ('c, 0', '2')]
    """
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from rows(inside, f"{name}, {key}" if name else str(key))
    elif isinstance(value, list):
        yield from rows(dict(enumerate(value)), name)
    elif isinstance(value, int | float):
        yield name, f"{value:.4g}"


def markdown(path: Path) -> Iterator[str]:
    """A record's command, its hardware and its numbers."""
    record = json.loads(path.read_text())
    yield f"## {path.stem.replace('_', ' ')}"
    yield f"`{record.pop('command')}` on {record.pop('hardware', 'an unknown machine')}"
    yield "| what | value |\n|---|---|"
    yield from (f"| {name} | {value} |" for name, value in rows(record))


if __name__ == "__main__":
    for file in sorted(Path(sys.argv[1]).glob("*.json")):
        print(*markdown(file), "", sep="\n")
