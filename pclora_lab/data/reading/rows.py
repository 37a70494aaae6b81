"""Rows as they are read from a file, kept as Arrow tables, and those that can't be."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from pclora_lab.data.account import LeftOut

__all__ = ["RowWriter", "Rows"]

# Characters that are kept as Python objects before they become Arrow's.
_CHUNK = 1_000_000

_CHUNK_ROWS = 20_000


@dataclass(frozen=True)
class Rows:
    """The rows of a file.

    Attributes:
        table: those that can be read.
        left_out: the others.
        notes: what a person should know about how they were read.
    """

    table: pa.Table
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """How many rows there are, readable or not."""
        return self.table.num_rows + sum(part.count for part in self.left_out)


@dataclass
class RowWriter:
    """Collects rows of words; a column that a row lacks is none there.

    Example:
        >>> writer = RowWriter()
        >>> writer.add({"text": "a"})
        >>> writer.add({"text": "b", "label": "1"})
        >>> writer.leave("with too many fields", "line 4")
        >>> rows = writer.rows()
        >>> rows.found, rows.table.to_pylist()[0]
        (3, {'text': 'a', 'label': None})
    """

    columns: dict[str, list[str | None]] = field(default_factory=dict)
    _tables: list[pa.Table] = field(default_factory=list)
    _lost: dict[str, LeftOut] = field(default_factory=dict)
    _rows: int = 0
    _size: int = 0

    def add(self, row: Mapping[str, str | None]) -> None:
        """One row."""
        for name, value in row.items():
            column = self.columns.get(name)
            if column is None:
                column = self.columns[name] = [None] * self._rows
            column.append(value)
            self._size += len(value or "")
        self._rows += 1
        if len(row) < len(self.columns):
            for column in self.columns.values():
                if len(column) < self._rows:
                    column.append(None)
        if self._size > _CHUNK or self._rows >= _CHUNK_ROWS:
            self._flush()

    def leave(self, reason: str, where: str) -> None:
        """One row that can't be read."""
        before = self._lost.get(reason, LeftOut(reason, 0, where))
        self._lost[reason] = LeftOut(reason, before.count + 1, before.first)

    def _flush(self) -> None:
        arrays = {name: pa.array(words, pa.string()) for name, words in self.columns.items()}
        self._tables.append(pa.table(arrays))
        self.columns = {name: [] for name in self.columns}
        self._rows = self._size = 0

    def rows(self, notes: tuple[str, ...] = ()) -> Rows:
        """All of them."""
        self._flush()
        table = pa.concat_tables(self._tables, promote_options="default")
        return Rows(table, tuple(self._lost.values()), notes)
