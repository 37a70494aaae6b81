"""The rows of a table that can be used; the others are counted, each for one reason."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.columns import Columns
from pclora_lab.data.dividing import take_rows
from pclora_lab.data.labels import Classes, LabelColumn, arrow_column, is_missing
from pclora_lab.data.pictures import DecodedImages
from pclora_lab.data.reading.places import OUTSIDE, inside
from pclora_lab.data.reading.tables import as_dataset
from pclora_lab.data.splits import Split
from pclora_lab.wording import listed

__all__ = ["content_rows", "joined_splits", "picture_column", "raw_split", "sample_texts"]
__all__ += ["text_column_of"]

_SAMPLE = 100

# Words of a text that is longer are not counted.
_LONGEST_SAMPLE = 5000


def raw_split(
    table: datasets.Dataset,
    columns: Columns,
    labels: LabelColumn,
    classes: Classes,
    split: str,
    ledger: Ledger,
) -> Split:
    """Examples and class numbers of the rows that have both.

    Args:
        table: of the split.
        columns: what it holds.
        labels: its label column.
        classes: of the whole data set.
        split: its name in the ledger.
        ledger: is told what is left out.

    Raises:
        DataError: a column that holds no texts or no pictures.
    """
    numbers = classes.of(labels)
    examples, is_there = content_rows(table, columns, split, ledger)
    is_none = is_there & (numbers == -1)
    _leave(ledger, split, "without a label", is_none, columns.label)
    for reason, is_unknown in _unknown(labels, numbers, classes, is_there):
        _leave(ledger, split, reason, is_unknown, columns.label)
    kept = is_there & (numbers >= 0)
    if kept.all():
        return Split(examples, numbers)
    return take_rows(Split(examples, numbers), np.flatnonzero(kept))


def content_rows(
    table: datasets.Dataset, columns: Columns, split: str, ledger: Ledger
) -> tuple[Sequence[Any], np.ndarray]:
    """The pictures or texts of a table, and which rows have theirs, ``(rows,)``.

    Args:
        table: of the split.
        columns: what it holds.
        split: its name in the ledger.
        ledger: is told which rows have none.

    Raises:
        DataError: a column that holds no texts or no pictures.
    """
    examples: Sequence[Any]
    if columns.kind == "image":
        examples, is_there, is_outside = picture_column(table, columns.content[0], ledger.place)
        reason = "with a picture outside of the data's own folder, which is not read"
        _leave(ledger, split, reason, is_outside, columns.content[0])
    else:
        examples, is_there = _texts(table, columns.content)
        is_outside = np.zeros(len(table), dtype=bool)
    thing = {"image": "picture", "text": "text"}[columns.kind]
    named = " or ".join(repr(name) for name in columns.content)
    missing = f"without a {thing} in column {named}"
    _leave(ledger, split, missing, ~(is_there | is_outside), columns.content[0])
    return examples, is_there


def _leave(ledger: Ledger, split: str, reason: str, is_left: np.ndarray, column: str) -> None:
    count = int(is_left.sum())
    if count:
        ledger.leave_rows(split, reason, count, f"row {int(is_left.argmax())}, column {column!r}")


def _unknown(
    labels: LabelColumn, numbers: np.ndarray, classes: Classes, is_there: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    is_unknown = is_there & (numbers == -2)
    if not is_unknown.any():
        return []
    words = sorted({labels.words[code] for code in np.unique(labels.codes[is_unknown])})
    if classes.is_named:
        count = len(classes.names)
        which = f"outside the {count} classes (0 to {count - 1}), such as {words[0]}"
    else:
        which = f"that train does not have: {words[:5]}"
    return [(f"with labels {which}", is_unknown)]


def picture_column(
    table: datasets.Dataset,
    column: str,
    place: Path | Sequence[Path] | None,
    argument: str = "image_column",
) -> tuple[DecodedImages, np.ndarray, np.ndarray]:
    """The pictures of a column, which rows have one, and which name one outside of a folder.

    Args:
        table: of one split.
        column: of pictures.
        place: that paths must not lead out of, see :class:`Ledger`.
        argument: by which the column was named, for the error.

    Raises:
        DataError: it holds something else.
    """
    wrong = DataError(
        f"column {column!r} holds no images: pass another {argument} ({listed(table.column_names)})"
    )
    try:
        pictures = table.select_columns([column]).cast_column(column, datasets.Image())
    except (TypeError, ValueError, NotImplementedError, pa.ArrowException) as error:
        raise wrong from error
    stored = arrow_column(pictures, column)
    if not pa.types.is_struct(stored.type):
        raise wrong
    bytes_, paths = (
        # A row that is null as a whole may have a field that is not.
        pa.chunked_array(
            [pc.and_(chunk.is_valid(), chunk.field(name).is_valid()) for chunk in stored.chunks],
            pa.bool_(),
        )
        for name in ("bytes", "path")
    )
    is_there = bytes_.to_numpy().astype(bool)
    is_outside = np.zeros(len(is_there), dtype=bool)
    found: dict[int, str] = {}
    for row in np.flatnonzero(~is_there & paths.to_numpy().astype(bool)).tolist():
        path = inside(stored[row]["path"].as_py(), place)
        is_outside[row] = path is OUTSIDE
        if isinstance(path, str):
            found[row] = path
    is_there[[*found]] = True
    if found and place is not None:
        pictures = _with_paths(stored, column, found)
    return DecodedImages(pictures, column), is_there, is_outside


def _with_paths(stored: pa.ChunkedArray, column: str, paths: dict[int, str]) -> datasets.Dataset:
    """The same pictures, but for those that a path leads to: found where the table means it."""
    contents = pa.chunked_array([chunk.field("bytes") for chunk in stored.chunks], pa.binary())
    places = pa.array([paths.get(row) for row in range(len(stored))], pa.string())
    struct = pa.StructArray.from_arrays([contents.combine_chunks(), places], ["bytes", "path"])
    return as_dataset(pa.table({column: struct})).cast_column(column, datasets.Image())


def _texts(
    table: datasets.Dataset, content: tuple[str, ...]
) -> tuple[list[str] | list[tuple[str, str]], np.ndarray]:
    """Texts, or pairs of them, and which rows have all of theirs."""
    read = [_words(table, column) for column in content]
    is_there = np.ones(len(table), dtype=bool)
    for words in read:
        is_there &= np.fromiter((not is_missing(word) for word in words), bool, len(words))
    if len(read) == 1:
        return read[0], is_there
    return list(zip(*read, strict=True)), is_there


def text_column_of(table: datasets.Dataset, column: str) -> tuple[list[Any], np.ndarray]:
    """The texts of a column, and which rows have one, ``(rows,)``.

    Raises:
        DataError: it holds something else.
    """
    texts = _words(table, column)
    return texts, np.fromiter((not is_missing(text) for text in texts), bool, len(texts))


def _words(table: datasets.Dataset, column: str) -> list[Any]:
    stored = arrow_column(table, column)
    kind = stored.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise DataError(
            f"column {column!r} holds no texts but {kind}: pass another text_column "
            f"({listed(table.column_names)})"
        )
    words = stored.to_pylist()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return words
    return [None if is_missing(word) else str(word) for word in words]


def sample_texts(table: datasets.Dataset, columns: Columns) -> list[tuple[str, str]]:
    """The first texts with their labels, as words."""
    names = (columns.content[0], columns.label)
    texts, labels = (arrow_column(table, name)[:_SAMPLE].to_pylist() for name in names)
    pairs = zip(texts, labels, strict=True)
    return [
        (str(text)[:_LONGEST_SAMPLE], str(label)) for text, label in pairs if not is_missing(label)
    ]


def joined_splits(splits: Sequence[Split]) -> Split:
    """One behind the other.

    Raises:
        DataError: pictures in columns of different names or types.
    """
    if len(splits) == 1:
        return splits[0]
    labels = np.concatenate([split.labels for split in splits])
    if not isinstance(splits[0].examples, DecodedImages):
        return Split([example for split in splits for example in split.examples], labels)
    parts = [split.examples for split in splits if isinstance(split.examples, DecodedImages)]
    column = parts[0].column
    try:
        tables = [part.table.select(part.rows).select_columns([column]) for part in parts]
        return Split(DecodedImages(datasets.concatenate_datasets(tables), column), labels)
    except (ValueError, TypeError) as error:
        raise DataError(f"the parts of one split do not fit each other: {error}") from error
