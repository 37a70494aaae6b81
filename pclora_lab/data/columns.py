"""Which columns of a table hold pictures or texts, and which the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets

from pclora_lab.data.account import DataError
from pclora_lab.data.other_tasks import other_task_of_table
from pclora_lab.wording import listed

__all__ = ["Columns", "find_columns", "find_text_column"]

IMAGE_NAMES = ("image", "img", "picture", "photo", "pixel_values")


TEXT_NAMES = (
    "text", "sentence", "review", "content", "comment", "document", "description", "question",
    "message", "body", "title",
)  # fmt: skip


PAIR_NAMES = (
    ("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"),
    ("text1", "text2"), ("sentence_1", "sentence_2"), ("text_1", "text_2"),
    ("question_1", "question_2"), ("sentence_a", "sentence_b"), ("text_a", "text_b"),
    ("sent1", "sent2"), ("question", "sentence"), ("question", "passage"), ("query", "passage"),
    ("query", "document"), ("claim", "evidence"), ("context", "hypothesis"),
)  # fmt: skip


LABEL_NAMES = (
    "label", "labels", "fine_label", "class", "target", "category", "sentiment", "y",
    "gold_label", "is_duplicate",
)  # fmt: skip

_INDEX = ("__index_level_", "unnamed: ")

_TEXT_TYPES = ("string", "large_string", "string_view")


@dataclass(frozen=True)
class Columns:
    """What a table holds.

    Attributes:
        kind: ``image`` or ``text``.
        content: the column of the pictures or texts; two for pairs of texts.
        label: the column of the labels.
    """

    kind: str
    content: tuple[str, ...]
    label: str

    @property
    def used(self) -> list[str]:
        """All of them."""
        return [*self.content, self.label]


def find_columns(
    table: datasets.Dataset,
    given: Mapping[str, str | None],
    data: str,
    pair: Sequence[str] | None = None,
) -> Columns:
    """What a table holds, as given or guessed by names and types.

    Args:
        table: one split.
        given: names by kind (``image``, ``text``, ``label``); None is guessed.
        data: the data set's name, for errors.
        pair: names of two text columns; None is guessed.

    Raises:
        DataError: a given column is not there, or none can be guessed.
    """
    have = listed(table.column_names)
    _refuse_both(given, pair)
    for column in [*filter(None, given.values()), *(pair or ())]:
        if column not in table.column_names:
            raise DataError(f"data {data!r} has no column {column!r}: it has {have}")
    label = given.get("label") or _guess(table, datasets.ClassLabel, LABEL_NAMES)
    text = given.get("text")
    asked = text or pair
    image = given.get("image") or (None if asked else _guess(table, datasets.Image, IMAGE_NAMES))
    content = _content(table, image, text, pair, label)
    if not content:
        found = other_task_of_table(table)
        raise DataError(
            f"no image column found in {data!r} and none of texts: its columns are {have}; pass "
            "image_column or text_column" + (f". {found}" if found else ""),
            found.name if found else None,
        )
    if label in content:
        raise DataError(
            f"column {label!r} of {data!r} can't be both label and {'image' if image else 'text'}: "
            f"its columns are {have}; pass another label_column"
        )
    if label is None:
        raise _no_label(table, data, have)
    return Columns("image" if image else "text", content, label)


def find_text_column(table: datasets.Dataset, given: str | None, data: str) -> str:
    """The column of a table's texts, as given or guessed; labels are not asked for.

    Args:
        table: one split.
        given: its name; None guesses.
        data: the data set's name, for errors.

    Raises:
        DataError: the given column is not there, or none can be guessed.
    """
    have = listed(table.column_names)
    if given is not None and given not in table.column_names:
        raise DataError(f"data {data!r} has no column {given!r}: it has {have}")
    features = table.features
    strings = [column for column in table.column_names if _is_text(features[column])]
    found = given or _text(table, strings)
    if found is None:
        raise DataError(
            f"no column of texts found in {data!r}: its columns are {have}; pass text_column"
        )
    return found


def _refuse_both(given: Mapping[str, str | None], pair: Sequence[str] | None) -> None:
    if given.get("image") and (given.get("text") or pair):
        raise DataError("give image_column or text_column, not both: a run has one kind of input")
    if given.get("text") and pair:
        raise DataError("give text_column or text_columns, not both: one text each, or two")
    if pair is not None and (isinstance(pair, str) or len(pair) != 2 or pair[0] == pair[1]):
        raise DataError(
            f"text_columns is {pair!r}: it must be two different names, such as "
            '("premise", "hypothesis")'
        )


def _no_label(table: datasets.Dataset, data: str, have: str) -> DataError:
    said = f"no label column found in {data!r}: its columns are {have}; pass label_column"
    if any(_is_value(column) for column in table.column_names):
        said += ". Its first line looks like a row: a heading must name the columns"
    if found := other_task_of_table(table):
        return DataError(f"{said}. {found}", found.name)
    is_text = [_is_text(feature) for feature in table.features.values()]
    if any(is_text):
        said += ". To learn the texts themselves, set task to language-modeling"
    # Beside a single column of texts there is nothing that could be meant as a label.
    return DataError(said, "language-modeling" if is_text == [True] else None)


def _is_value(column: str) -> bool:
    """Whether a column's name reads like a value, as where a table has no heading."""
    return column.strip().lstrip("-").replace(".", "").isdigit() or len(column.split()) > 4


def _guess(table: datasets.Dataset, feature: type, names: tuple[str, ...]) -> str | None:
    columns, features = table.column_names, table.features  # which are copied for every asking
    typed = [c for c in columns if isinstance(features[c], feature)]
    by_name = sorted(
        (c for c in columns if _plain(c) in names), key=lambda column: names.index(_plain(column))
    )
    return next(iter([*typed, *by_name]), None)


def _plain(column: str) -> str:
    return column.strip().lower()


def _content(
    table: datasets.Dataset,
    image: str | None,
    text: str | None,
    pair: Sequence[str] | None,
    label: str | None,
) -> tuple[str, ...]:
    given = image or text
    if given:
        return (given,)
    if pair:
        return tuple(pair)
    features = table.features
    strings = [c for c in table.column_names if c != label and _is_text(features[c])]
    plain = {_plain(c): c for c in reversed(strings)}
    for first, second in PAIR_NAMES:
        if first in plain and second in plain:
            return (plain[first], plain[second])
    found = _text(table, strings)
    return (found,) if found else ()


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in _TEXT_TYPES


def _text(table: datasets.Dataset, strings: list[str]) -> str | None:
    """A column with a usual name, or else the one with the longest strings."""
    named = [c for name in TEXT_NAMES for c in strings if _plain(c) == name]
    strings = [c for c in strings if not c.lower().startswith(_INDEX)]
    if named or not strings:
        return named[0] if named else None
    some = table.select_columns(strings)[:100]  # at once, as asking copies every column's type
    return max(strings, key=lambda c: sum(len(value or "") for value in some[c]))
