"""Texts by name, as three splits without labels: the reading half of language modeling."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.columns import find_text_column
from pclora_lab.data.dividing import three_splits
from pclora_lab.data.language.files import read_text_files, text_files_in
from pclora_lab.data.overlap import leave_shared_rows
from pclora_lab.data.reading.trees import split_named
from pclora_lab.data.rows import joined_splits, text_column_of
from pclora_lab.data.sources import local_path, read_tables, refuse_vague, source_name
from pclora_lab.data.splits import LabeledData, Split

__all__ = ["GLOSS_TEXTS", "load_texts"]

GLOSS_TEXTS = "gloss_texts"
_GLOSSES = ("glosses", GLOSS_TEXTS)
_OTHERS = ("digits", "digit_scenes")
_SPLITS = ("train", "validation", "test")


def load_texts(
    data: Any,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    image_column: str | None = None,
    text_columns: Sequence[str] | None = None,
    max_left_out: float = 0.01,
    max_overlap: float = 0.01,
) -> LabeledData:
    """Read texts, each of them a document; whatever labels stand beside them are not asked for.

    Args:
        data: ``gloss_texts``, a text file, a folder of text files, or what
            :func:`pclora_lab.load_data` takes, with a column of texts. In one file, empty lines
            part the documents.
        text_column: name of the column; None guesses.
        label_column: None, as the next token is what is learned.
        image_column: likewise.
        text_columns: likewise: a pair is no document.
        max_left_out: largest share of a split's rows that may be left out. Documents without a
            character are counted but never too many: nothing is lost with them.
        max_overlap: largest share of the test or validation texts that may be training texts too.

    Raises:
        DataError: a ValueError: nothing to read, no such column, labels asked for, or more rows
            left out than allowed.
        ConnectionError: the hub can't be reached.

    Example:
        >>> texts = load_texts("gloss_texts")
        >>> len(texts.train), texts.kind, texts.num_classes
        (27758, 'text', 0)
    """
    _refuse_labels(label_column, image_column, text_columns)
    name = source_name(data)
    if name in _OTHERS:
        raise DataError(
            f"{name} holds images and no texts: choose {GLOSS_TEXTS} or other data, or another task"
        )
    ledger = Ledger()
    tables = _tables(data, name, ledger)
    first = tables.get("train", next(iter(tables.values())))
    column = find_text_column(first, text_column, name)
    ledger.use_columns(first.column_names, [column])
    splits = _splits(tables, column, name, max_left_out, ledger)
    leave_shared_rows(splits, name, max_overlap, ledger)
    account = ledger.close({key: len(split) for key, split in splits.items()})
    three = three_splits(name, _by_role(splits), ledger.notes)
    notes, content = tuple(ledger.notes), (column,)
    return LabeledData(
        name,
        "text",
        three["train"],
        three["validation"],
        three["test"],
        class_names=(),
        notes=notes,
        account=account,
        content=content,
    )


def _refuse_labels(label: str | None, image: str | None, pair: Sequence[str] | None) -> None:
    if label is not None:
        raise DataError(
            f"label_column is {label!r}, but language modeling learns the next token of a text and "
            "takes no labels: leave label_column out, or set task to text-classification"
        )
    if image is not None or pair is not None:
        raise DataError(
            "language modeling reads one column of texts: name it with text_column, and leave "
            "image_column and text_columns out"
        )


def _tables(data: Any, name: str, ledger: Ledger) -> dict[str, datasets.Dataset]:
    if name in _GLOSSES:
        from pclora_lab.files import data_dir  # the files stand beside the checkpoints

        data = str(data_dir("glosses"))
    elif isinstance(data, str | Path):
        refuse_vague(name)
        path = local_path(name)
        if path is not None and (found := text_files_in(path)) is not None:
            tables = read_text_files(path if path.is_dir() else path.parent, found, ledger)
            return _with_rows(tables, name)
    return _with_rows(read_tables(data, ledger), name)


def _with_rows(tables: Mapping[str, datasets.Dataset], name: str) -> dict[str, datasets.Dataset]:
    kept = {key: table for key, table in tables.items() if len(table)}
    if not kept:
        raise DataError(f"data {name!r} has no rows")
    return kept


def _splits(
    tables: Mapping[str, datasets.Dataset], column: str, name: str, allowed: float, ledger: Ledger
) -> dict[str, Split]:
    """The texts of every table that is one of the three splits."""
    splits, empty = {}, {}
    for key, table in tables.items():
        if len(tables) > 1 and split_named(key) is None:
            reason = "in a split that is none of train, validation and test"
            ledger.notes.append(f"the split {key} is none of the three and is left out")
            ledger.leave_rows(key, reason, len(table), is_excused=True)
        elif column not in table.column_names:
            ledger.leave_rows(key, f"in a split without the column {column!r}", len(table))
        else:
            splits[key], empty[key] = _texts(table, column, key, ledger)
    ledger.check(name, allowed)
    for key, is_empty in empty.items():  # with them nothing is lost, however many there are
        _leave(ledger, key, "without a character", is_empty)
    return splits


def _texts(
    table: datasets.Dataset, column: str, split: str, ledger: Ledger
) -> tuple[Split, np.ndarray]:
    """The documents that have a character, and which rows are empty ones, ``(rows,)``."""
    texts, is_there = text_column_of(table, column)
    is_empty = ~is_there & np.fromiter((isinstance(t, str) for t in texts), bool, len(texts))
    _leave(ledger, split, f"without a text in column {column!r}", ~is_there & ~is_empty)
    kept = [text for text, there in zip(texts, is_there, strict=True) if there]
    return Split(kept, np.zeros(len(kept), dtype=np.int64)), is_empty


def _leave(ledger: Ledger, split: str, reason: str, is_left: np.ndarray) -> None:
    ledger.leave_rows(split, reason, int(is_left.sum()), f"row {int(is_left.argmax())}")


def _by_role(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Train, validation and test; parts of one of them are joined."""
    if len(splits) == 1:
        return dict(splits)
    made = {}
    for role in _SPLITS:
        if parts := [split for key, split in splits.items() if split_named(key) == role]:
            made[role] = joined_splits(parts)
    return made
