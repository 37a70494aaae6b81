"""Pictures beside a table that names each of them and its class: ``metadata.csv`` and the like."""

from pathlib import Path

import datasets
import pyarrow as pa

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.reading.tables import as_dataset, read_rows
from pclora_lab.data.reading.trees import split_named
from pclora_lab.data.reading.walking import FoundFiles
from pclora_lab.wording import listed

__all__ = ["has_metadata", "read_described_pictures"]

_NAME = "file_name"


def has_metadata(found: FoundFiles) -> bool:
    """Whether one of the tables is called ``metadata``."""
    return bool(_tables(found))


def _tables(found: FoundFiles) -> list[tuple[Path, str]]:
    return [
        (path, kind)
        for kind, paths in found.tables.items()
        for path in paths
        if path.stem.lower() == "metadata"
    ]


def read_described_pictures(
    folder: Path, found: FoundFiles, ledger: Ledger, name: str
) -> dict[str, datasets.Dataset]:
    """Pictures with the other columns of the table that names them in ``file_name``.

    Raises:
        DataError: a table without that column, or one that can't be read.
    """
    used = {path for path, _ in _tables(found)}
    beside = [str(p) for ps in found.tables.values() for p in ps if p not in used]
    ledger.leave_files("a table or text beside pictures", [*beside, *map(str, found.texts)])
    pictures = {*found.pictures}
    splits: dict[str, list[dict[str, object]]] = {}
    lost: dict[tuple[str, str], list[str]] = {}
    named: set[Path] = set()
    for table, kind in _tables(found):
        rows = read_rows(folder / table, kind)
        if _NAME not in rows.table.column_names:
            have = listed(rows.table.column_names)
            raise DataError(f"{table} of data {name!r} has no column {_NAME!r}: it has {have}")
        split = _split(table.parent)
        for part in rows.left_out:
            ledger.find_rows(split, part.count)
            ledger.leave_rows(split, part.reason, part.count, f"{part.first} of {table}")
        for row in rows.table.to_pylist():
            path = table.parent / str(row.pop(_NAME))
            split = _split(path.parent)
            if path in pictures:
                splits.setdefault(split, []).append({"image": str(folder / path), **row})
            else:
                reason = f"without a picture that can be read, named in {table.name}"
                lost.setdefault((split, reason), []).append(str(path))
            named.add(path)
    for path in sorted({*pictures, *found.unreadable} - named):
        lost.setdefault((_split(path.parent), "that no table names"), []).append(str(path))
    for split, examples in splits.items():
        ledger.find_rows(split, len(examples))
    for (split, reason), paths in lost.items():
        ledger.find_rows(split, len(paths))
        ledger.leave_rows(split, reason, len(paths), paths[0])
    return {split: _table(examples) for split, examples in splits.items()}


def _split(folder: Path) -> str:
    return next((s for part in folder.parts if (s := split_named(part))), "train")


def _table(examples: list[dict[str, object]]) -> datasets.Dataset:
    paths = pa.array([example.pop("image") for example in examples], pa.string())
    empty = pa.nulls(len(paths), pa.binary())
    image = pa.StructArray.from_arrays([empty, paths], ["bytes", "path"])
    others = pa.Table.from_pylist(examples)
    made = as_dataset(others.add_column(0, "image", image))
    return made.cast_column("image", datasets.Image())
