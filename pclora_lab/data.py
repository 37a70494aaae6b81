"""Labelled data by name: embedded digits and glosses, hub data sets, files and folders.

A data set is read once as three raw splits. What a model expects of its input
(:mod:`pclora_lab.pixels`, :mod:`pclora_lab.texts`) turns a split into batches.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from pclora_lab.pixels import Pixels, Preprocessing
from pclora_lab.reading import read_tables
from pclora_lab.tables import (
    class_names_of,
    find_columns,
    is_labelled,
    is_missing,
    label_numbers,
)
from pclora_lab.texts import TextPreprocessing, Texts

__all__ = [
    "EMBEDDED_DATA",
    "LabelledData",
    "Pixels",
    "Preprocessing",
    "Split",
    "TextPreprocessing",
    "Texts",
    "load_data",
    "short_name",
]

EMBEDDED_DATA = ("digits", "glosses")


@dataclass(frozen=True)
class Split:
    """Raw examples and their class numbers; ``examples[i]`` is a PIL image or a string."""

    examples: Sequence[Any]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class LabelledData:
    """Three splits and the names of the classes. Test is read once, at the end of a run.

    Attributes:
        name: as it was asked for.
        kind: ``image`` or ``text``.
        train: what is learned from.
        validation: what choices are made on.
        test: what is reported.
        class_names: one per class number.
        remarks: what was left out or made up while reading, for people to know.
    """

    name: str
    kind: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    def summary(self) -> str:
        """One line: kind, sizes, classes."""
        names = ", ".join(self.class_names[:10]) + (", …" if self.num_classes > 10 else "")
        sizes = " / ".join(f"{len(split):,}" for split in (self.train, self.validation, self.test))
        return (
            f"{short_name(self.name)}: {sizes} {self.kind}s to train, validate and test on, "
            f"{self.num_classes} classes ({names})"
        )

    def fingerprint(self) -> str:
        """A short hash of labels and sample examples: same data, same hash, on any machine."""
        digest = hashlib.sha256(self.train.labels.astype(np.int64).tobytes())
        for index in range(0, len(self.train), max(1, len(self.train) // 16)):
            example = self.train.examples[index]
            is_text = isinstance(example, str)
            digest.update(example.encode() if is_text else np.asarray(example).tobytes())
        return digest.hexdigest()[:16]


def short_name(name: str) -> str:
    """A name on the hub as it is; of a path on somebody's machine, the last part.

    Example:
        >>> short_name("uoft-cs/cifar10"), short_name("/home/me/reviews.csv")
        ('uoft-cs/cifar10', 'reviews.csv')
    """
    is_path = name.startswith((".", "/", "~", "local-dir:")) or name.count("/") > 1
    return name.rstrip("/").rpartition("/")[2] if is_path else name


def load_data(
    name: str | Path,
    *,
    image_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
) -> LabelledData:
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
    remarks: list[str] = []
    splits = {}
    for key, table in tables.items():
        if len(tables) > 1 and not is_labelled(table, label):
            remarks.append(f"the split {key} has no labels and is left out")
            continue
        make = _image_split if kind == "image" else _text_split
        splits[key] = make(
            table, column, label, class_names, f"{short_name(name)} ({key})", remarks
        )
    return _three_splits(name, kind, splits, class_names, remarks)


def _glosses_folder() -> Path:
    from pclora_lab.embedded import data_dir  # the files stand beside the checkpoints

    return data_dir("glosses")


def _digits() -> LabelledData:
    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    split = Split([Image.fromarray(image) for image in pixels], bunch.target)
    rest, test = _divide(split, 360)
    train, validation = _divide(rest, 360)
    return LabelledData("digits", "image", train, validation, test, tuple(map(str, range(10))))


def _text_split(
    table: Any, column: str, label: str, names: tuple[str, ...], where: str, remarks: list[str]
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
        remarks.append(f"{where}: {dropped} of {len(table)} rows without text or label left out")
        table = table.select(kept)
    return Split([str(text) for text in table[column]], label_numbers(table, label, names, where))


def _image_split(
    table: Any, column: str, label: str, names: tuple[str, ...], where: str, remarks: list[str]
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


class _Decoded(Sequence):
    """Images of a table column, decoded on access; says which row can't be read."""

    def __init__(self, table: Any, column: str, rows: np.ndarray | None = None) -> None:
        self.table, self.column = table, column
        self.rows = np.arange(len(table)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Image.Image:
        row = int(self.rows[index])
        try:
            image = self.table[row][self.column]
            if image is None:
                raise ValueError("there is none")
            return image
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(
                f"row {row}, column {self.column!r}: the image can't be read ({error}). Remove the "
                "row or repair the file."
            ) from error

    def take(self, indices: np.ndarray) -> "_Decoded":
        return _Decoded(self.table, self.column, self.rows[indices])


def _take(split: Split, indices: np.ndarray) -> Split:
    examples = split.examples
    is_lazy = isinstance(examples, _Decoded)
    taken = examples.take(indices) if is_lazy else [examples[i] for i in indices]
    return Split(taken, split.labels[indices])


def _divide(split: Split, held_out: int | float) -> tuple[Split, Split]:
    """Two parts with the same class balance; the same ones every time.

    A text that stands in the table more than once is in one part only.
    """
    is_text = isinstance(split.examples, list) and isinstance(split.examples[0], str)
    if is_text and len(set(split.examples)) < len(split):
        _, first, group = np.unique(split.examples, return_index=True, return_inverse=True)
        once = Split([split.examples[i] for i in first], split.labels[first])
        share = held_out if isinstance(held_out, float) else held_out / len(split)
        is_held = np.isin(once.examples, _divide(once, share)[1].examples)[group]
        return _take(split, np.flatnonzero(~is_held)), _take(split, np.flatnonzero(is_held))
    every = np.arange(len(split))
    counts = np.bincount(split.labels)
    balanced = counts[counts > 0].min() >= 2
    if isinstance(held_out, float):
        held_out = max(
            math.ceil(held_out * len(split)), np.count_nonzero(counts) if balanced else 1
        )
    kept, held = train_test_split(
        every,
        test_size=held_out,
        random_state=0,
        stratify=split.labels if balanced else None,
    )
    return _take(split, np.sort(kept)), _take(split, np.sort(held))


def _three_splits(
    name: str,
    kind: str,
    splits: dict[str, Split],
    class_names: tuple[str, ...],
    remarks: list[str],
) -> LabelledData:
    """Take the splits there are; make those that are missing out of the training split."""
    if len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    train = splits.get("train") or next(iter(splits.values()))
    validation, test = splits.get("validation"), splits.get("test")
    if min(len(split) for split in (train, validation, test) if split is not None) < 10:
        raise ValueError(f"data {name!r} has fewer than 10 examples in a split: that is too few")
    if test is None and validation is not None:
        remarks.append("no labelled test split: the validation split is reported on instead")
        test, validation = validation, None
    elif test is None:
        remarks.append("no test split: a fifth of the training rows is held out as one")
        train, test = _divide(train, 0.2)
    if validation is None:
        remarks.append("no validation split: a tenth of the training rows is held out as one")
        train, validation = _divide(train, 0.1)
    return LabelledData(name, kind, train, validation, test, class_names, tuple(remarks))
