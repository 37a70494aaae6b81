"""Labeled data by name: embedded digits and glosses, hub data sets, files, folders, tables.

A data set is read once as three raw splits. What a model expects of its input
(:mod:`pclora_lab.data.images`, :mod:`pclora_lab.data.texts`) turns a split into batches.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from pclora_lab.data.account import Account, DataError, Ledger, Tally
from pclora_lab.data.columns import Columns, find_columns
from pclora_lab.data.dividing import divide, three_splits
from pclora_lab.data.labels import Classes, LabelColumn, classes_of
from pclora_lab.data.overlap import leave_shared_rows
from pclora_lab.data.reading.trees import split_named
from pclora_lab.data.rows import joined_splits, raw_split, sample_texts
from pclora_lab.data.sources import local_path, read_tables, source_name
from pclora_lab.data.splits import LabeledData, Split
from pclora_lab.fields import check_number
from pclora_lab.wording import listed

__all__ = ["EMBEDDED_DATA", "load_data"]

EMBEDDED_DATA = ("digits", "glosses", "digit_scenes", "gloss_texts", "digit_turns",
                 "scene_digits", "gloss_typos")  # fmt: skip

_MANY_COLUMNS = 100

_SPLITS = ("train", "validation", "test")


def load_data(
    data: Any,
    *,
    image_column: str | None = None,
    text_column: str | None = None,
    text_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    max_left_out: float = 0.01,
    max_overlap: float = 0.01,
) -> LabeledData:
    """Read a data set.

    Args:
        data: ``digits``, ``glosses``, a CSV, TSV, JSON lines or parquet file, a folder of such
            files, of images (``folder/train/cat/1.png``), of text files in the same way, or one
            that ``save_to_disk`` wrote; a hub name such as ``uoft-cs/cifar10`` or
            ``stanfordnlp/sst2``; a DataFrame, a ``datasets.Dataset``, a pyarrow Table, or several
            of them by split.
        image_column: name of the image column; None guesses.
        text_column: name of the text column; None guesses.
        text_columns: names of two text columns, for pairs such as ``("premise", "hypothesis")``;
            None guesses.
        label_column: name of the label column; None guesses.
        max_left_out: largest share of a split's rows that may be left out, such as rows without
            a label.
        max_overlap: largest share of the test rows, or of the validation rows, that may stand
            among the training rows too. They are left out of the training rows.

    Raises:
        DataError: a ValueError: unknown name, nothing to read, missing column, one class only,
            labels of another task, or more rows left out than allowed.
        ConnectionError: the hub can't be reached.

    Example:
        >>> digits = load_data("digits")
        >>> len(digits.train), len(digits.validation), len(digits.test), digits.num_classes
        (1077, 360, 360, 10)
        >>> print(digits.account)
        rows: 1,797 found, 1,797 used
    """
    for argument, share in (("max_left_out", max_left_out), ("max_overlap", max_overlap)):
        check_number(argument, share, 0, 1)
    name = source_name(data)
    if name == "digits":
        return _digits()
    _refuse_other_tasks(name)
    ledger = Ledger()
    tables = read_tables(str(_glosses_folder()) if name == "glosses" else data, ledger)
    if not any(map(len, tables.values())):
        ledger.check(name, 0)
        raise DataError(f"data {name!r} has no rows")
    first = tables[_first(tables)]
    have = listed(first.column_names)
    given = {"image": image_column, "text": text_column, "label": label_column}
    columns = find_columns(first, given, name, text_columns)
    ledger.use_columns(first.column_names, columns.used)
    del first
    tables = _narrow(tables, columns)
    labels = _labels(tables, columns, name)
    classes = _classes(labels, tables, columns, name)
    splits = _labeled(tables, labels, columns, classes, ledger)
    ledger.check(name, max_left_out, f"; its columns are {have}")
    leave_shared_rows(splits, name, max_overlap, ledger)
    account = ledger.close({key: len(split) for key, split in splits.items()})
    three = three_splits(name, _by_role(splits, ledger.notes), ledger.notes)
    return LabeledData(
        name=name,
        kind=columns.kind,
        train=three["train"],
        validation=three["validation"],
        test=three["test"],
        class_names=classes.names,
        notes=(*ledger.notes, *classes.notes),
        account=account,
        content=columns.content,
    )


def _refuse_other_tasks(name: str) -> None:
    """What has no class for each example, as far as a name tells."""
    found = {
        "digit_scenes": ("masks", "semantic-segmentation"),
        "digit_turns": ("numbers", "regression"),
        "scene_digits": ("several labels at once", "multi-label-classification"),
        "gloss_typos": ("a tag for each word", "token-classification"),
        "gloss_texts": ("texts without labels", "language-modeling"),
    }
    path = local_path(name)
    if path is not None and path.suffix.lower() == ".txt" and path.is_file():
        found[name] = ("texts without labels", "language-modeling")
    if name in found:
        what, task = found[name]
        raise DataError(f"{name} holds {what}: set task to {task}", task)


def _glosses_folder() -> Path:
    from pclora_lab.files import data_dir  # the files stand beside the checkpoints

    return data_dir("glosses")


def _digits() -> LabeledData:
    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    split = Split([Image.fromarray(image) for image in pixels], bunch.target)
    rest, test = divide(split, 360)
    train, validation = divide(rest, 360)
    account = Account(Tally(0, 0), Tally(0, 0), Tally(len(split), len(split)))
    names = tuple(map(str, range(10)))
    return LabeledData("digits", "image", train, validation, test, names, account=account)


Tables = dict[str, datasets.Dataset]


def _role(key: str, tables: Tables) -> str | None:
    """Which of the three splits a table is; a single one is what is trained on."""
    return "train" if len(tables) == 1 else split_named(key)


def _first(tables: Tables) -> str:
    """The table that says which columns and classes there are: what is trained on, if there is."""
    found = [key for key in tables if _role(key, tables) == "train" and len(tables[key])]
    return next(iter(found or [key for key in tables if len(tables[key])]))


def _narrow(tables: Tables, columns: Columns) -> Tables:
    """The same without columns that nobody asks for, where each of them would cost time."""
    return {
        key: table.select_columns([name for name in columns.used if name in table.column_names])
        if len(table.column_names) > _MANY_COLUMNS
        else table
        for key, table in tables.items()
    }


def _labels(tables: Tables, columns: Columns, name: str) -> dict[str, LabelColumn]:
    """The label columns of the splits that have one."""
    return {
        key: LabelColumn.of(table, columns.label, name)
        for key, table in tables.items()
        if columns.label in table.column_names
    }


def _classes(
    labels: dict[str, LabelColumn], tables: Tables, columns: Columns, name: str
) -> Classes:
    key = _first(tables)
    table = tables[key]
    texts = sample_texts(table, columns) if columns.kind == "text" else []
    have = listed(table.column_names)
    return classes_of(labels[key], columns.label, name, have, texts)


def _labeled(
    tables: Tables,
    labels: dict[str, LabelColumn],
    columns: Columns,
    classes: Classes,
    ledger: Ledger,
) -> dict[str, Split]:
    """The rows that can be used of every table that has labels and is one of the three splits.

    ``tables`` is empty afterwards.
    """
    splits: dict[str, Split] = {}
    roles = {key: _role(key, tables) for key in tables}
    for key in roles:
        table = tables.pop(key)  # texts are kept once
        found = labels.get(key)
        if len(roles) > 1 and (found is None or not found.is_labeled):
            ledger.notes.append(f"the split {key} has no labels and is left out")
            ledger.leave_rows(key, "in a split without labels", len(table), is_excused=True)
        elif found is None or roles[key] is None:
            reason = "in a split that is none of train, validation and test"
            ledger.leave_rows(key, reason, len(table))
        else:
            splits[key] = raw_split(table, columns, found, classes, key, ledger)
    return splits


def _by_role(splits: dict[str, Split], notes: list[str]) -> dict[str, Split]:
    """Train, validation and test; parts of one of them are joined."""
    if len(splits) == 1:
        return dict(splits)
    parts = {role: [key for key in splits if split_named(key) == role] for role in _SPLITS}
    made: dict[str, Split] = {}
    for role, keys in parts.items():
        if len(keys) > 1:
            notes.append(f"the split {role} is {' and '.join(keys)} together")
        if keys:
            made[role] = joined_splits([splits[key] for key in keys])
    return made
