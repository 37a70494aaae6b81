"""Labeled data by name: embedded digits and glosses, hub data sets, files and folders.

A data set is read once as three raw splits. What a model expects of its input
(:mod:`pclora_lab.data.images`, :mod:`pclora_lab.data.texts`) turns a split into batches.
"""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from pclora_lab.data.columns import (
    class_names_of,
    find_columns,
    is_labeled,
    is_missing,
    label_numbers,
)
from pclora_lab.data.sources import read_tables
from pclora_lab.data.splits import LabeledData, Split, _Decoded, _divide, _three_splits, short_name

__all__ = ["EMBEDDED_DATA", "load_data"]

EMBEDDED_DATA = ("digits", "glosses")


def load_data(
    name: str | Path,
    *,
    image_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
) -> LabeledData:
    """Read a data set.

    Args:
        name: ``digits``, ``glosses``, a CSV, TSV, JSON lines or parquet file, a folder of such
            files or of images (``folder/train/cat/1.png``), or a hub name such as
            ``uoft-cs/cifar10`` or ``stanfordnlp/sst2``.
        image_column: name of the image column; None guesses.
        text_column: name of the text column; None guesses.
        label_column: name of the label column; None guesses.

    Raises:
        ValueError: unknown name, nothing to read, missing column, one class only.
        ConnectionError: the hub can't be reached.

    Example:
        >>> digits = load_data("digits")
        >>> len(digits.train), len(digits.validation), len(digits.test), digits.num_classes
        (1077, 360, 360, 10)
    """
    name = str(name)
    if name == "digits":
        return _digits()
    given = {"image": image_column, "text": text_column, "label": label_column}
    tables = read_tables(str(_glosses_folder()) if name == "glosses" else name)
    first = tables.get("train") or next(iter(tables.values()))
    kind, column, label = find_columns(first, given, name)
    class_names = class_names_of(first, label, name)
    notes: list[str] = []
    splits = {}
    for key, table in tables.items():
        if len(tables) > 1 and not is_labeled(table, label):
            notes.append(f"the split {key} has no labels and is left out")
            continue
        make = _image_split if kind == "image" else _text_split
        splits[key] = make(table, column, label, class_names, f"{short_name(name)} ({key})", notes)
    return _three_splits(name, kind, splits, class_names, notes)


def _glosses_folder() -> Path:
    from pclora_lab.files import data_dir  # the files stand beside the checkpoints

    return data_dir("glosses")


def _digits() -> LabeledData:
    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    split = Split([Image.fromarray(image) for image in pixels], bunch.target)
    rest, test = _divide(split, 360)
    train, validation = _divide(rest, 360)
    return LabeledData("digits", "image", train, validation, test, tuple(map(str, range(10))))


def _text_split(
    table: Any, column: str, label: str, names: tuple[str, ...], where: str, notes: list[str]
) -> Split:
    """Rows without a text or without a label are left out, and said."""
    feature = table.features[column]
    if getattr(feature, "dtype", None) is None or feature.dtype in ("struct", "list"):
        raise ValueError(
            f"column {column!r} of {where} holds no texts: pass another text_column "
            f"({', '.join(table.column_names)})"
        )
    texts, labels = table[column], table[label]
    pairs = zip(texts, labels, strict=True)
    kept = [i for i, (text, word) in enumerate(pairs) if not (is_missing(text) or is_missing(word))]
    dropped = len(table) - len(kept)
    if dropped > len(table) / 2:
        raise ValueError(
            f"{where}: {dropped} of {len(table)} rows have no text or no label in {column!r} and "
            f"{label!r}; are these the right columns ({', '.join(table.column_names)})?"
        )
    if dropped:
        notes.append(f"{where}: {dropped} of {len(table)} rows without text or label left out")
        table = table.select(kept)
    return Split([str(text) for text in table[column]], label_numbers(table, label, names, where))


def _image_split(
    table: Any, column: str, label: str, names: tuple[str, ...], where: str, notes: list[str]
) -> Split:
    missing = [row for row, word in enumerate(table[label]) if is_missing(word)]
    if missing:
        raise ValueError(
            f"{where} has {len(missing)} rows without a label in column {label!r}, row "
            f"{missing[0]} first: label or remove them"
        )
    labels = label_numbers(table, label, names, where)
    try:
        images = table.cast_column(column, datasets.Image())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"column {column!r} of {where} holds no images: pass another image_column "
            f"({', '.join(table.column_names)})"
        ) from error
    return Split(_Decoded(images, column), labels)
