"""Three splits from those there are; missing ones are divided off the training rows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from pclora_lab.data.account import DataError
from pclora_lab.data.splits import Split

__all__ = ["divide", "take_rows", "three_splits"]


def take_rows(split: Split, indices: np.ndarray) -> Split:
    """Some rows of a split, in this order."""
    masks = None if split.masks is None else _taken(split.masks, indices)
    targets = None if split.targets is None else _taken(split.targets, indices)
    return Split(_taken(split.examples, indices), split.labels[indices], masks, targets)


def _taken(examples: Any, indices: np.ndarray) -> Any:
    if isinstance(examples, np.ndarray):
        return examples[indices]
    take = getattr(examples, "take", None)  # what is decoded on access stays so
    return take(indices) if take is not None else [examples[i] for i in indices]


def divide(split: Split, held_out: int | float) -> tuple[Split, Split]:
    """Two parts with the same class balance; the same ones every time.

    A text that stands in the table more than once is in one part only.

    Args:
        split: of more than one row.
        held_out: rows of the second part, or their share.

    Raises:
        DataError: too few rows for both parts.
    """
    labels = split.labels
    examples = split.examples
    is_text = isinstance(examples, list) and isinstance(examples[0], (str, tuple))
    found = _repeated(examples) if is_text else None
    try:
        if found is None:
            is_held = _held(labels, held_out)
        else:
            first, group = found
            share = held_out if isinstance(held_out, float) else held_out / len(split)
            is_held = _held(labels[first], share)[group]
    except ValueError as error:
        raise DataError(
            f"{len(split)} rows of {len(np.unique(labels))} classes are too few to hold some out "
            f"for validation or test: add rows, or give splits of your own ({error})"
        ) from error
    return take_rows(split, np.flatnonzero(~is_held)), take_rows(split, np.flatnonzero(is_held))


def _held(labels: np.ndarray, held_out: int | float) -> np.ndarray:
    """Which rows are held out, ``(rows,)``."""
    counts = np.bincount(labels)
    balanced = counts[counts > 0].min() >= 2
    if isinstance(held_out, float):
        least = int(np.count_nonzero(counts)) if balanced else 1
        held_out = max(math.ceil(held_out * len(labels)), least)
    _, held = train_test_split(
        np.arange(len(labels)),
        test_size=held_out,
        random_state=0,
        stratify=labels if balanced else None,
    )
    is_held = np.zeros(len(labels), dtype=bool)
    is_held[held] = True
    return is_held


def _repeated(examples: Sequence[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """The first row of every different text, in their order, and which of them a row has.

    None where all are different. An array of Python objects: one of characters would give every
    row the room of the longest.
    """
    column = np.empty(len(examples), dtype=object)
    for row, example in enumerate(examples):
        column[row] = example
    order = np.argsort(column, kind="stable")
    column = column[order]
    is_new = np.ones(len(examples), dtype=bool)
    is_new[1:] = column[1:] != column[:-1]
    if is_new.all():
        return None
    group = np.empty(len(examples), dtype=np.int64)
    group[order] = np.cumsum(is_new) - 1
    return order[is_new], group


def three_splits(name: str, splits: Mapping[str, Split], notes: list[str]) -> dict[str, Split]:
    """Take the splits there are; make those that are missing out of the training split.

    Args:
        name: of the data, for errors.
        splits: by ``train``, ``validation`` and ``test``, or one of any name.
        notes: is told what was made.

    Raises:
        DataError: fewer than ten rows in a split, no training split, or too few rows to divide.
    """
    if len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    train, validation, test = (splits.get(key) for key in ("train", "validation", "test"))
    if train is None:
        raise DataError(
            f"data {name!r} has the splits {', '.join(splits)} and none to train on: name one of "
            "them train"
        )
    if min(len(split) for split in (train, validation, test) if split is not None) < 10:
        raise DataError(f"data {name!r} has fewer than 10 examples in a split: that is too few")
    try:
        if test is None and validation is not None:
            notes.append("no labeled test split: the validation split is reported on instead")
            test, validation = validation, None
        elif test is None:
            notes.append("no test split: a fifth of the training rows is held out as one")
            train, test = divide(train, 0.2)
        if validation is None:
            notes.append("no validation split: a tenth of the training rows is held out as one")
            train, validation = divide(train, 0.1)
    except DataError as error:
        raise DataError(f"data {name!r}: {error}") from error
    return {"train": train, "validation": validation, "test": test}
