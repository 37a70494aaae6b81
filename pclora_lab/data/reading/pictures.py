"""A folder of pictures, or of one text a file, as tables by split."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.reading.encoding import encoding_of
from pclora_lab.data.reading.tables import as_dataset
from pclora_lab.data.reading.trees import Leaf, TreeReading, read_tree
from pclora_lab.data.reading.walking import FoundFiles

__all__ = ["read_picture_folder", "read_text_folder"]

_Maker = Callable[[Sequence[Leaf], Sequence[str]], datasets.Dataset]


def read_picture_folder(
    folder: Path, found: FoundFiles, ledger: Ledger, name: str
) -> dict[str, datasets.Dataset]:
    """Pictures in folders of classes: ``folder/train/cat/1.png`` or ``folder/cat/1.png``.

    Raises:
        DataError: no folders name classes.
    """
    reading = read_tree([*found.pictures, *found.unreadable, *found.empty_pictures], name)
    lost = {
        "of a kind that can't be read here (save as PNG or JPEG)": set(found.unreadable),
        "without a byte in its file": set(found.empty_pictures),
    }
    leaves = _used(reading, lost, ledger, name)

    def table(chosen: Sequence[Leaf], names: Sequence[str]) -> datasets.Dataset:
        paths = pa.array([str(folder / leaf.path) for leaf in chosen], pa.string())
        empty = pa.nulls(len(chosen), pa.binary())
        pictures = pa.StructArray.from_arrays([empty, paths], ["bytes", "path"])
        return _with_classes({"image": pictures}, {"image": datasets.Image()}, chosen, names)

    return _by_split(leaves, table)


def read_text_folder(
    folder: Path, found: FoundFiles, ledger: Ledger, name: str
) -> dict[str, datasets.Dataset]:
    """Text files in folders of classes: ``folder/train/pos/1.txt``.

    Raises:
        DataError: no folders name classes, or a file that is no text.
    """
    leaves = _used(read_tree(found.texts, name), {}, ledger, name)

    def table(chosen: Sequence[Leaf], names: Sequence[str]) -> datasets.Dataset:
        texts = pa.chunked_array(
            [pa.array([_text(folder / leaf.path)], pa.string()) for leaf in chosen], pa.string()
        ).combine_chunks()
        return _with_classes({"text": texts}, {"text": datasets.Value("string")}, chosen, names)

    return _by_split(leaves, table)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding=encoding_of(path))
    except UnicodeError as error:
        raise DataError(f"{path.name} is not UTF-8 ({error}): save it as UTF-8") from error


def _used(
    reading: TreeReading, lost: Mapping[str, set[Path]], ledger: Ledger, name: str
) -> list[Leaf]:
    """Those that become examples; the others are counted."""
    ledger.notes.extend(reading.notes)
    ledger.has_columns = False
    if not reading.leaves:
        raise DataError(
            f"data {name!r} has one class only, or none: a classifier needs two or more, each in a "
            "folder of its own"
        )
    for place, paths in reading.astray.items():
        reason = f"in the folder {place!r}, which is none of train, validation and test"
        _leave(ledger, place, reason, paths)
    for split, paths in reading.homeless.items():
        is_unlabeled = all(leaf.split != split for leaf in reading.leaves)
        if is_unlabeled:
            ledger.notes.append(f"the split {split} has no labels and is left out")
        reason = "without a folder that names the class"
        _leave(ledger, split, reason, paths, is_excused=is_unlabeled)
    gone = {path: reason for reason, paths in lost.items() for path in paths}
    left: dict[tuple[str, str], list[Path]] = {}
    used = [leaf for leaf in reading.leaves if leaf.path not in gone]
    for leaf in used:
        ledger.find_rows(leaf.split, 1)
    for leaf in reading.leaves:
        if leaf.path in gone:
            left.setdefault((leaf.split, gone[leaf.path]), []).append(leaf.path)
    for (split, reason), paths in left.items():
        _leave(ledger, split, reason, paths)
    return used


def _leave(
    ledger: Ledger, split: str, reason: str, paths: list[Path], *, is_excused: bool = False
) -> None:
    ledger.find_rows(split, len(paths))
    ledger.leave_rows(split, reason, len(paths), str(paths[0]), is_excused=is_excused)
    ledger.leave_files(reason, [*map(str, paths)])


def _by_split(leaves: list[Leaf], table: _Maker) -> dict[str, datasets.Dataset]:
    names = sorted({leaf.label for leaf in leaves})
    splits: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        splits.setdefault(leaf.split, []).append(leaf)
    return {split: table(chosen, names) for split, chosen in splits.items()}


def _with_classes(
    columns: dict[str, pa.Array],
    features: dict[str, object],
    leaves: Sequence[Leaf],
    names: Sequence[str],
) -> datasets.Dataset:
    number = {label: i for i, label in enumerate(names)}
    labels = np.asarray([number[leaf.label] for leaf in leaves], dtype=np.int64)
    described = datasets.Features({**features, "label": datasets.ClassLabel(names=list(names))})
    schema = described.arrow_schema
    return as_dataset(pa.table({**columns, "label": labels}).cast(schema))
