"""Labeled examples as three raw splits; missing ones are cut off the first."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from PIL import Image
from sklearn.model_selection import train_test_split

__all__ = ["LabeledData", "Split", "short_name"]


@dataclass(frozen=True)
class Split:
    """Raw examples and their class numbers; ``examples[i]`` is a PIL image or a string."""

    examples: Sequence[Any]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class LabeledData:
    """Three splits and the names of the classes. Test is read once, at the end of a run.

    Attributes:
        name: as it was asked for.
        kind: ``image`` or ``text``.
        train: what is learned from.
        validation: what choices are made on.
        test: what is reported.
        class_names: one per class number.
        notes: what was left out or made up while reading, for people to know.
    """

    name: str
    kind: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

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


class _Decoded(Sequence[Image.Image]):
    """Images of a table column, decoded on access; says which row can't be read."""

    def __init__(self, table: Any, column: str, rows: np.ndarray | None = None) -> None:
        self.table, self.column = table, column
        self.rows = np.arange(len(table)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> "_Decoded": ...
    def __getitem__(self, index: int | slice) -> "Image.Image | _Decoded":
        if isinstance(index, slice):
            return self.take(index)
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

    def take(self, indices: np.ndarray | slice) -> "_Decoded":
        return _Decoded(self.table, self.column, self.rows[indices])


def _take(split: Split, indices: np.ndarray) -> Split:
    examples = split.examples
    if isinstance(examples, _Decoded):
        return Split(examples.take(indices), split.labels[indices])
    return Split([examples[i] for i in indices], split.labels[indices])


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
        least = int(np.count_nonzero(counts)) if balanced else 1
        held_out = max(math.ceil(held_out * len(split)), least)
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
    notes: list[str],
) -> LabeledData:
    """Take the splits there are; make those that are missing out of the training split."""
    if len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    train = splits.get("train") or next(iter(splits.values()))
    validation, test = splits.get("validation"), splits.get("test")
    if min(len(split) for split in (train, validation, test) if split is not None) < 10:
        raise ValueError(f"data {name!r} has fewer than 10 examples in a split: that is too few")
    if test is None and validation is not None:
        notes.append("no labeled test split: the validation split is reported on instead")
        test, validation = validation, None
    elif test is None:
        notes.append("no test split: a fifth of the training rows is held out as one")
        train, test = _divide(train, 0.2)
    if validation is None:
        notes.append("no validation split: a tenth of the training rows is held out as one")
        train, validation = _divide(train, 0.1)
    return LabeledData(name, kind, train, validation, test, class_names, tuple(notes))
