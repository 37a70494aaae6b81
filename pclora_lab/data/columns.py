"""What the columns of a table hold: pictures or texts, labels, classes."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import datasets
import numpy as np

__all__ = ["class_names_of", "find_columns", "is_labeled", "is_missing", "label_numbers"]

IMAGE_NAMES = ("image", "img", "picture", "photo", "pixel_values")


TEXT_NAMES = (
    "text", "sentence", "review", "content", "comment", "document", "description", "question",
    "message", "body", "title",
)  # fmt: skip


LABEL_NAMES = (
    "label", "labels", "fine_label", "class", "target", "category", "sentiment", "y",
)  # fmt: skip


_LABEL_TYPES = (datasets.ClassLabel, datasets.Value)


def find_columns(table: Any, given: Mapping[str, str | None], data: str) -> tuple[str, str, str]:
    """What a table holds: ``image`` or ``text``, the column of these, and the label's column.

    Args:
        table: one split.
        given: names by kind (``image``, ``text``, ``label``); None is guessed.
        data: the data set's name, for errors.

    Raises:
        ValueError: a given column is not there, or none can be guessed.
    """
    for column in filter(None, given.values()):
        if column not in table.column_names:
            have = ", ".join(table.column_names)
            raise ValueError(f"data {data!r} has no column {column!r}: it has {have}")
    if given.get("image") and given.get("text"):
        raise ValueError("give image_column or text_column, not both: a run has one kind of input")
    label = given.get("label") or _guess(table, datasets.ClassLabel, LABEL_NAMES)
    image = given.get("image") or (
        None if given.get("text") else _guess(table, datasets.Image, IMAGE_NAMES)
    )
    content = image or given.get("text") or _text(table, label)
    if label is None and table.column_names == [image]:
        raise ValueError(
            f"data {data!r} has one class only: a classifier needs two or more, each in a folder "
            "of its own"
        )
    have = f"its columns are {', '.join(table.column_names)}"
    if content is None:
        raise ValueError(
            f"no image column found in {data!r} and none of texts: {have}; pass image_column or "
            "text_column"
        )
    if label is None:
        raise ValueError(f"no label column found in {data!r}: {have}; pass label_column")
    return ("image" if image else "text"), content, label


def _guess(table: Any, feature: type, names: tuple[str, ...]) -> str | None:
    typed = [c for c in table.column_names if isinstance(table.features[c], feature)]
    by_name = sorted((c for c in table.column_names if c.lower() in names),
                     key=lambda column: names.index(column.lower()))  # fmt: skip
    return next(iter([*typed, *by_name]), None)


def _text(table: Any, label: str | None) -> str | None:
    """A column with a usual name, or else the one with the longest strings."""
    strings = [
        c
        for c in table.column_names
        if c != label and getattr(table.features[c], "dtype", None) in ("string", "large_string")
    ]
    named = [c for name in TEXT_NAMES for c in strings if c.lower() == name]
    if named or not strings:
        return named[0] if named else None
    some = table.select(range(min(100, len(table))))
    return max(strings, key=lambda c: sum(len(value or "") for value in some[c]))


def label_word(value: object) -> str:
    """A class as text; whole numbers without a fraction.

    Example:
        >>> label_word(1.0), label_word(" spam ")
        ('1', 'spam')
    """
    word = str(value).strip()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", word)


def _order(words: set[str]) -> list[str]:
    numbers = all(word.removeprefix("-").isdigit() for word in words)
    return sorted(words, key=int) if numbers else sorted(words)


def class_names_of(table: Any, column: str, data: str) -> tuple[str, ...]:
    """The classes of a label column: its own names, or its values in order.

    Raises:
        ValueError: not a label column, or fewer than two classes.
    """
    feature = table.features[column]
    columns = ", ".join(table.column_names)
    if not isinstance(feature, _LABEL_TYPES):
        raise ValueError(
            f"column {column!r} of {data!r} is no label column: every row needs a class name or "
            f"number; pass another label_column ({columns})"
        )
    values = [value for value in table[column] if not is_missing(value)]
    fractions = _fractions(values)
    if fractions:
        raise ValueError(
            f"column {column!r} of {data!r} holds fractions such as {fractions[0]}, which are no "
            f"classes; pass another label_column ({columns})"
        )
    words = {label_word(value) for value in values}
    if isinstance(feature, datasets.ClassLabel):
        names, words = tuple(feature.names), {str(value) for value in values if value >= 0}
    else:
        names = tuple(_order(words))
    if len(words) < 2:
        raise ValueError(
            f"data {data!r} has {len(words)} class in column {column!r}: a classifier needs two or "
            "more; is it the right label_column?"
        )
    if len(words) > len(values) // 2 and len(words) > 20:
        raise ValueError(
            f"column {column!r} of {data!r} has {len(words)} different values in {len(values)} "
            f"rows, which are hardly classes; pass another label_column ({columns})"
        )
    return names


def _fractions(values: list[Any]) -> list[Any]:
    """Those that are not whole, if all of them are numbers; words make numbers to words."""
    try:
        return [value for value in values if not float(value).is_integer()]
    except (TypeError, ValueError, OverflowError):
        return []


def is_missing(value: object) -> bool:
    """Nothing, an empty word, or not a number.

    Example:
        >>> is_missing(None), is_missing("  "), is_missing(float("nan")), is_missing(0)
        (True, True, True, False)
    """
    if isinstance(value, str):
        return not value.strip()
    return value is None or value != value


def is_labeled(table: Any, column: str) -> bool:
    """Whether a split has labels; the test splits of many hub data sets have −1 instead."""
    if column not in table.column_names:
        return False
    return any(not is_missing(value) and label_word(value) != "-1" for value in table[column])


def label_numbers(table: Any, column: str, names: tuple[str, ...], where: str) -> np.ndarray:
    """The class number of every row.

    Raises:
        ValueError: a row without a label, or with one that the classes do not have.
    """
    if isinstance(table.features[column], datasets.ClassLabel):
        numbers = list(table[column])
        outside = [n for n in numbers if n is None or not 0 <= n < len(names)]
        if outside:
            raise ValueError(
                f"{where} has {len(outside)} rows whose label is outside the {len(names)} classes "
                f"(0 to {len(names) - 1}), such as {outside[0]}: repair or remove them"
            )
        return np.asarray(numbers, dtype=np.int64)
    number: Callable[[str], int | None] = {name: i for i, name in enumerate(names)}.get
    words = [label_word(value) for value in table[column]]
    unknown = sorted({word for word in words if number(word) is None})
    if unknown:
        raise ValueError(f"{where} has labels that train does not have: {unknown[:5]}")
    return np.asarray([number(word) for word in words], dtype=np.int64)
