"""The classes of a label column, and the class of every row."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from pclora_lab.data.account import DataError
from pclora_lab.data.other_tasks import other_task_of_column, other_task_of_words, word_columns
from pclora_lab.data.reading.spelling import joined_spellings, spelling_key
from pclora_lab.wording import listed

__all__ = ["Classes", "LabelColumn", "arrow_column", "classes_of", "is_missing", "label_word"]
__all__ += ["ordered_words"]

_HARDLY_CLASSES = 20


def arrow_column(table: datasets.Dataset, column: str) -> pa.ChunkedArray:
    """A column as it is stored, in the order of the rows."""
    return table.select_columns([column]).with_format("arrow")[:][column]


def label_word(value: object) -> str:
    """A class as text; whole numbers without a fraction.

    Example:
        >>> label_word(1.0), label_word(" spam ")
        ('1', 'spam')
    """
    word = str(value).strip()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", word)


def is_missing(value: object) -> bool:
    """Nothing, an empty word, or not a number.

    Example:
        >>> is_missing(None), is_missing("  "), is_missing(float("nan")), is_missing(0)
        (True, True, True, False)
    """
    if isinstance(value, str):
        return not value.strip()
    return value is None or value != value


@dataclass(frozen=True)
class LabelColumn:
    """A label column as a few words and a number for every row.

    Attributes:
        words: the different labels.
        codes: ``words[code]`` is the label of a row, ``(rows,)``; −1 where it has none.
        names: of the classes where the table names them; the words are then their numbers.
    """

    words: tuple[str, ...]
    codes: np.ndarray
    names: tuple[str, ...] | None

    @classmethod
    def of(cls, table: datasets.Dataset, column: str, data: str) -> "LabelColumn":
        """Read it.

        Raises:
            DataError: its type is that of another task.
        """
        feature = table.features[column]
        arrow = arrow_column(table, column)
        found = other_task_of_column(feature, arrow.type, bool(word_columns(table) - {column}))
        if found:
            raise DataError(
                f"column {column!r} of {data!r} is no label column: it holds {found}; pass another "
                f"label_column ({listed(table.column_names)})",
                found.name,
            )
        names = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None
        values, codes = _encoded(arrow)
        words: dict[str, int] = {}
        numbers = np.full(len(values) + 1, -1, dtype=np.int64)  # the last is for none
        for i, value in enumerate(values):
            is_none = is_missing(value) or (names is not None and value == -1)
            if not is_none:
                numbers[i] = words.setdefault(label_word(value), len(words))
        return cls(tuple(words), numbers[codes], names)

    @property
    def counts(self) -> dict[str, int]:
        """Rows by label."""
        found = np.bincount(self.codes[self.codes >= 0], minlength=len(self.words))
        return {word: int(found[code]) for code, word in enumerate(self.words)}

    @property
    def is_labeled(self) -> bool:
        """Whether there are labels; the test splits of many hub data sets have −1 instead."""
        return any(word != "-1" for word in self.words)


def _encoded(arrow: pa.ChunkedArray) -> tuple[list[Any], np.ndarray]:
    """Different values, and their number for every row; the last number but one is none's."""
    if pa.types.is_dictionary(arrow.type):
        arrow = arrow.cast(arrow.type.value_type)
    encoded = arrow.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):  # where all chunks are too large for one
        encoded = encoded.unify_dictionaries().combine_chunks()
    values = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    return values, codes.astype(np.int64)


@dataclass(frozen=True)
class Classes:
    """The classes of a data set, and which label means which.

    Attributes:
        names: one per class number.
        numbers: class number by label, as it is written.
        is_named: whether the table itself names its classes.
        notes: which spellings became one.
    """

    names: tuple[str, ...]
    numbers: Mapping[str, int]
    is_named: bool
    notes: tuple[str, ...] = ()

    def of(self, labels: LabelColumn) -> np.ndarray:
        """The class of every row, ``(rows,)``: −1 without a label, −2 for one that is no class."""
        by_key = {spelling_key(word): number for word, number in self.numbers.items()}
        found = [self.numbers.get(w, by_key.get(spelling_key(w), -2)) for w in labels.words]
        return np.asarray([*found, -1], dtype=np.int64)[labels.codes]


def classes_of(
    labels: LabelColumn, column: str, data: str, columns: str, texts: list[tuple[str, str]]
) -> Classes:
    """The classes of the first split: its own names, or its values in order.

    Args:
        labels: of the split.
        column: its name.
        data: the data set's name, for errors.
        columns: names of all columns, for errors.
        texts: some texts with their label.

    Raises:
        DataError: fewer than two classes, or labels of another task.
    """
    counts = labels.counts
    if labels.names is None and (found := other_task_of_words(counts, texts)):
        raise DataError(
            f"column {column!r} of {data!r} holds {found}; pass another label_column ({columns})",
            found.name,
        )
    joined, notes = joined_spellings(counts) if labels.names is None else ({}, [])
    words = set(joined.values()) if labels.names is None else set(counts)
    if len(words) < 2:
        raise DataError(
            f"data {data!r} has {len(words)} class in column {column!r}: a classifier needs two or "
            "more; is it the right label_column?"
        )
    rows = sum(counts.values())
    if 2 * len(words) > rows and len(words) > _HARDLY_CLASSES:
        raise DataError(
            f"column {column!r} of {data!r} has {len(words)} different values in {rows} rows, "
            f"which are hardly classes; pass another label_column ({columns})"
        )
    if labels.names is not None:
        return Classes(labels.names, {str(n): n for n in range(len(labels.names))}, True)
    names = tuple(ordered_words(words))
    number = {name: i for i, name in enumerate(names)}
    return Classes(names, {w: number[name] for w, name in joined.items()}, False, tuple(notes))


def ordered_words(words: set[str]) -> list[str]:
    """By their numbers where all are whole numbers, else by the alphabet.

    Example:
        >>> ordered_words({"10", "9"}), ordered_words({"10", "9", "x"})
        (['9', '10'], ['10', '9', 'x'])
    """
    # Python reads no whole number of more than 4300 digits.
    numbers = all(re.fullmatch(r"-?[0-9]{1,4000}", word) for word in words)
    return sorted(words, key=int) if numbers else sorted(words)
