"""The results of ``make bench`` as markdown: ``python tests/benchmarks/table.py FOLDER``.

Things that were measured alike stand in one table, a row for each. Single turns are left out.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, str]


def flat(value: Mapping[str, Any], name: str = "") -> Row:
    """Every number and text of a record with its place in it; of lists, only three numbers.

    Example:
        >>> flat({"a": {"b": 1.23456}, "turns": [2], "d": "text", "2 to 4": [2, 3, 4]})
        {'a, b': '1.235', 'd': 'text', '2 to 4': '2 / 3 / 4'}
    """
    found = {}
    for key, inside in value.items():
        place = f"{name}, {key}" if name else str(key)
        if isinstance(inside, Mapping):
            found |= flat(inside, place)
        elif isinstance(inside, int | float):
            found[place] = f"{inside:.4g}"
        elif isinstance(inside, str):
            found[place] = inside
        elif isinstance(inside, list) and len(inside) == 3 and isinstance(inside[0], int | float):
            found[place] = " / ".join(f"{number:.4g}" for number in inside)
    return found


def table(rows: Mapping[str, Row], corner: str) -> str:
    """A row for each name, and a column for whatever one of them has.

    Example:
        >>> print(table({"x": {"ms": "1"}, "y": {"MB": "2"}}, "what"))
        | what | ms | MB |
        |---|---|---|
        | x | 1 |  |
        | y |  | 2 |
    """
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [[corner, *columns], *([name, *map(row.get, columns)] for name, row in rows.items())]
    written = ["| " + " | ".join(cell or "" for cell in line) + " |" for line in lines]
    return "\n".join([written[0], "|" + "---|" * (len(columns) + 1), *written[1:]])


def tables(value: Any, name: str) -> Iterator[str]:
    """Those of a record: of the deepest level that holds several things measured alike."""
    if isinstance(value, list):
        if rows := {str(i): flat(row) for i, row in enumerate(value, 1) if isinstance(row, dict)}:
            yield table(rows, name)
    elif isinstance(value, dict):
        numbers = {key: inside for key, inside in value.items() if not isinstance(inside, dict)}
        if row := flat(numbers):
            yield table({key: {"value": cell} for key, cell in row.items()}, name)
        below = [inside for inside in value.values() if isinstance(inside, dict)]
        if below and not any(isinstance(v, dict) for inside in below for v in inside.values()):
            yield table({k: flat(v) for k, v in value.items() if isinstance(v, dict)}, name)
            return
        for key, inside in value.items():
            if isinstance(inside, list | dict):
                yield from tables(inside, f"{name}, {key}" if name else str(key))


def markdown(path: Path) -> Iterator[str]:
    """A record's command, its hardware and its numbers."""
    record = json.loads(path.read_text())
    yield f"## {path.stem.replace('_', ' ')}"
    yield f"`{record.pop('command')}` on {record.pop('hardware', 'an unknown machine')}"
    yield from tables(record, "")


if __name__ == "__main__":
    for file in sorted(Path(sys.argv[1]).glob("*.json")):
        print(*markdown(file), "", sep="\n\n")
