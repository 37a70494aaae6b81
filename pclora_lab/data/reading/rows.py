"""Rows as they are read from a file, kept as Arrow tables, and those that can't be."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from pclora_lab.data.account import DataError, LeftOut

__all__ = ["RowWriter", "Rows"]

# Characters that are kept as Python objects before they become Arrow's.
_CHUNK = 1_000_000

_CHUNK_ROWS = 20_000

_CHUNK_CELLS = 2_000_000

_MOST_COLUMNS = 10_000


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
    _names: set[str] = field(default_factory=set)
    _rows: int = 0
    _size: int = 0

    def __post_init__(self) -> None:
        """Refuse a heading of more columns than can be meant."""
        self._names.update(self.columns)
        self._refuse_many()

    def add(self, row: Mapping[str, str | None]) -> None:
        """One row.

        Raises:
            DataError: more columns than a table of examples has.
        """
        for name, value in row.items():
            column = self.columns.get(name)
            if column is None:
                column = self.columns[name] = []
                self._names.add(name)
                self._refuse_many()
            # What came before in rows without this column.
            column += [None] * (self._rows - len(column))
            column.append(value)
            self._size += len(value or "")
        self._rows += 1
        is_full = self._rows >= _CHUNK_ROWS or self._rows * len(self.columns) > _CHUNK_CELLS
        if self._size > _CHUNK or is_full:
            self._flush()

    def _refuse_many(self) -> None:
        if len(self._names) > _MOST_COLUMNS:
            raise DataError(
                f"there are more than {_MOST_COLUMNS:,} columns: a table of examples has one for "
                "the text or picture and one for the label; write only these"
            )

    def leave(self, reason: str, where: str) -> None:
        """One row that can't be read."""
        before = self._lost.get(reason, LeftOut(reason, 0, where))
        self._lost[reason] = LeftOut(reason, before.count + 1, before.first)

    def _flush(self) -> None:
        for words in self.columns.values():
            words += [None] * (self._rows - len(words))
        arrays = {name: pa.array(words, pa.string()) for name, words in self.columns.items()}
        self._tables.append(pa.table(arrays))
        # A column that no later row has takes no more time.
        self.columns = {}
        self._rows = self._size = 0

    def rows(self, notes: tuple[str, ...] = ()) -> Rows:
        """All of them."""
        if self._rows or not self._tables:
            self._flush()
        table = pa.concat_tables(self._tables, promote_options="default")
        return Rows(table, tuple(self._lost.values()), notes)
