"""A file or a folder of tables as Arrow tables by split."""

import secrets
from collections.abc import Iterable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from pclora_lab.data.account import DataError, Ledger, LeftOut
from pclora_lab.data.reading.delimited import read_delimited
from pclora_lab.data.reading.hub import cached_parquet
from pclora_lab.data.reading.json_rows import read_json_rows
from pclora_lab.data.reading.rows import Rows
from pclora_lab.data.reading.trees import split_named
from pclora_lab.data.reading.walking import TABLES, FoundFiles

__all__ = ["as_dataset", "read_rows", "read_table_file", "read_table_folder"]

# Larger ones stay on the disk, as pages that are read when they are needed.
_IN_MEMORY = 2 * 1024**3


def read_table_file(path: Path, ledger: Ledger) -> dict[str, datasets.Dataset]:
    """One file as one table.

    Raises:
        DataError: empty, of an unknown kind, or not readable.
    """
    if not path.stat().st_size:
        raise DataError("the file is empty")
    kind = TABLES.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path.suffix or 'no'} file type: give {', '.join(TABLES)}, or a folder")
    ledger.find_files(1)
    return {"train": _counted(read_rows(path, kind), "train", ledger)}


def read_table_folder(
    folder: Path, found: FoundFiles, ledger: Ledger
) -> dict[str, datasets.Dataset]:
    """All tables of a folder, by the splits that their paths name; others are training rows.

    The kind with the most bytes says which columns there are. A file of another kind that is no
    table with these columns is left out.
    """
    sizes = {k: sum((folder / p).stat().st_size for p in ps) for k, ps in found.tables.items()}
    kinds = sorted(sizes, key=lambda kind: -sizes[kind])
    parts: dict[str, list[pa.Table | datasets.Dataset]] = {}
    columns: set[str] = set()
    strays: list[str] = []
    for kind in kinds:
        for path in found.tables[kind]:
            try:
                rows = read_rows(folder / path, kind)
            except DataError:
                if kind == kinds[0]:
                    raise
                strays.append(str(path))
                continue
            columns = columns or set(rows.table.column_names)
            split = split_named(str(path.with_suffix(""))) or "train"
            if kind != kinds[0] and not columns <= set(rows.table.column_names):
                strays.append(str(path))
                continue
            parts.setdefault(split, []).append(_counted(rows, split, ledger, f" of {path}"))
    ledger.leave_files("no table like the others", strays)
    return {split: _joined(tables) for split, tables in parts.items()}


def read_rows(path: Path, kind: str) -> Rows:
    """The rows of one file of a kind in :data:`TABLES`.

    Raises:
        DataError: it can't be read.
    """
    if kind == "csv":
        return read_delimited(path)
    if kind == "json":
        return read_json_rows(path)
    return _read_parquet(path)


def _read_parquet(path: Path) -> Rows:
    try:
        is_large = path.stat().st_size > _IN_MEMORY
        table = cached_parquet(path) if is_large else pq.read_table(path, pre_buffer=False)
        require_sound(table)
        return Rows(table)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} can't be read as parquet: {error}") from error


def require_sound(table: pa.Table) -> None:
    """Look at every offset and every letter, as Arrow believes them when it reads a value.

    A flipped bit in an offset ends the process; one in a text is no character.

    Raises:
        pyarrow.ArrowInvalid: names the column.
    """
    table.validate(full=True)


def _counted(rows: Rows, split: str, ledger: Ledger, where: str = "") -> datasets.Dataset:
    ledger.find_rows(split, rows.found)
    ledger.notes.extend(rows.notes)
    for part in rows.left_out:
        first = LeftOut(part.reason, part.count, part.first + where)
        ledger.leave_rows(split, first.reason, first.count, first.first)
    return as_dataset(rows.table)


def as_dataset(table: pa.Table) -> datasets.Dataset:
    """A table with the types that its file describes."""
    try:
        # A name of its own: one that is made of the content takes a copy of all of it.
        return datasets.Dataset(table, fingerprint=secrets.token_hex(8))
    except (ValueError, TypeError, NotImplementedError) as error:
        raise DataError(f"a column is of a type that can't be read here: {error}") from error


def _joined(tables: Iterable[datasets.Dataset]) -> datasets.Dataset:
    """One below the other; what one of them lacks is none there."""
    listed = list(tables)
    if len(listed) == 1:
        return listed[0]
    try:
        return datasets.concatenate_datasets(listed)
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise DataError(f"the tables of one split do not fit each other: {error}") from error
