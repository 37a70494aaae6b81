"""Labels of other tasks than classification, recognized by their type and their values.

As classes they are refused: they would train and mean nothing. What is refused says which task of
this package reads it, and that one is taken where a configuration names none.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow as pa

from pclora_lab.wording import listed

__all__ = [
    "OtherTask",
    "word_columns",
    "is_word_list",
    "other_task_of_column",
    "other_task_of_table",
]
__all__ += ["other_task_of_words"]

_LISTS = (pa.ListType, pa.LargeListType, pa.FixedSizeListType, pa.ListViewType)

_TAG = re.compile(r"[BIOLUES]|[BILUES]-\S+")

_WRITTEN_LIST = re.compile(r"\s*[\[({].*[\])}]\s*", re.S)

_BETWEEN = ("|", ";", ",")

# Of tables that have no label for the whole example.
_COLUMNS = (
    "annotation", "mask", "objects", "answers", "ner_tags", "pos_tags", "chunk_tags", "tags",
    "labels", "label",
)  # fmt: skip

_FEW_ROWS = 5

_MANY_VALUES = 20

_MULTI_LABEL = "multi-label data (several classes at once)"

_TOKEN_LABEL = "token-level labels (one for each word)"

_MASKS = "segmentation masks"

_REGRESSION = "regression targets"

# Of this package, by what the labels look like.
_TASKS = {
    _MASKS: "semantic-segmentation", _REGRESSION: "regression",
    _MULTI_LABEL: "multi-label-classification", _TOKEN_LABEL: "token-classification",
}  # fmt: skip


@dataclass(frozen=True)
class OtherTask:
    """Labels that are not one class for each example.

    Attributes:
        what: was found.
        task: that it looks like.

    Example:
        >>> print(OtherTask("fractions such as 0.5", "regression targets"))
        fractions such as 0.5. These look like regression targets, which is another task: set task \
to regression
    """

    what: str
    task: str

    @property
    def name(self) -> str | None:
        """Of the task, where this package has it."""
        return _TASKS.get(self.task)

    def __str__(self) -> str:
        hint = f": set task to {self.name}" if self.name else ""
        return f"{self.what}. These look like {self.task}, which is another task{hint}"


def other_task_of_column(
    feature: Any, arrow_type: pa.DataType, has_words: bool = False
) -> OtherTask | None:
    """What a label column's type says; None for one that may hold classes.

    Args:
        feature: of the column.
        arrow_type: as which it is stored.
        has_words: whether another column holds a list of words in each row.
    """
    if isinstance(feature, datasets.Image) or _is_picture(arrow_type):
        return OtherTask("a picture in each row", _MASKS)
    if isinstance(arrow_type, _LISTS):
        if pa.types.is_floating(arrow_type.value_type):
            return OtherTask("a list of numbers in each row", _REGRESSION)
        return OtherTask("a list in each row", _TOKEN_LABEL if has_words else _MULTI_LABEL)
    if pa.types.is_struct(arrow_type):
        names = listed([field.name for field in arrow_type])
        return OtherTask(f"several fields in each row ({names})", "boxes, spans or answers")
    return None


def word_columns(table: datasets.Dataset) -> set[str]:
    """The columns that have a list of strings in each row."""
    return {field.name for field in table.features.arrow_schema if is_word_list(field.type)}


def is_word_list(kind: pa.DataType) -> bool:
    """Whether a column has a list of strings in each row.

    Example:
        >>> is_word_list(pa.list_(pa.string())), is_word_list(pa.list_(pa.int64()))
        (True, False)
    """
    if not isinstance(kind, _LISTS):
        return False
    return pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)


def _is_picture(arrow_type: pa.DataType) -> bool:
    if not pa.types.is_struct(arrow_type):
        return False
    return {field.name for field in arrow_type} == {"bytes", "path"}


def other_task_of_words(
    counts: Mapping[str, int], texts: Sequence[tuple[str, str]] = ()
) -> OtherTask | None:
    """What the values of a label column look like; None where they may be classes.

    Args:
        counts: rows by value.
        texts: some texts with their label, to compare their numbers of words.

    Example:
        >>> found = other_task_of_words({"comedy": 9, "comedy|drama": 5, "drama": 9})
        >>> found.what, found.task
        ("values such as 'comedy|drama'", 'multi-label data (several classes at once)')
        >>> other_task_of_words({"1.5": 3, "2.25": 3}).what
        'fractions such as 1.5'
    """
    return _written_lists(counts) or _tags(counts, texts) or _numbers(counts) or _combined(counts)


def _such_as(value: str) -> str:
    return f"values such as {value[:60]!r}"


def _tags(counts: Mapping[str, int], texts: Sequence[tuple[str, str]]) -> OtherTask | None:
    words = {word for value in counts for word in value.split()}
    if words and all(_TAG.fullmatch(word) for word in words) and any("-" in w for w in words):
        return OtherTask(_such_as(next(iter(counts))), _TOKEN_LABEL)
    lengths = [(len(text.split()), len(label.split())) for text, label in texts]
    is_same = all(words == labels for words, labels in lengths)
    if is_same and len({labels for _, labels in lengths}) > 1:  # or all texts are of one word
        what = f"as many words as the text in each row, {_such_as(texts[0][1])}"
        return OtherTask(what, _TOKEN_LABEL)
    return None


def _written_lists(counts: Mapping[str, int]) -> OtherTask | None:
    listed = [value for value in counts if _WRITTEN_LIST.fullmatch(value)]
    if sum(counts[value] for value in listed) <= sum(counts.values()) / 2:
        return None
    return OtherTask(f"lists or objects, {_such_as(listed[0])}", _MULTI_LABEL)


def _numbers(counts: Mapping[str, int]) -> OtherTask | None:
    try:
        numbers = [float(value) for value in counts]
    except (ValueError, OverflowError):
        return None
    fractions = [value for value in counts if not float(value).is_integer()]
    if fractions:
        return OtherTask(f"fractions such as {fractions[0]}", _REGRESSION)
    rows = sum(counts.values())
    if len(numbers) > _MANY_VALUES and rows < _FEW_ROWS * len(numbers):
        what = f"{len(numbers)} different values in {rows} rows, which are hardly classes"
        return OtherTask(what, _REGRESSION)
    return None


def _combined(counts: Mapping[str, int]) -> OtherTask | None:
    """Combinations of few labels, each of which stands alone too or in more than one of them."""
    for mark in _BETWEEN:
        parts = {v: [p.strip() for p in v.split(mark) if p.strip()] for v in counts if mark in v}
        parts = {value: names for value, names in parts.items() if len(names) > 1}
        rows = sum(counts[value] for value in parts)
        if not parts or rows < 0.1 * sum(counts.values()):
            continue
        uses = Counter(name for names in parts.values() for name in set(names))
        alone = {value.strip() for value in counts if value not in parts}
        if all(count > 1 or name in alone for name, count in uses.items()):
            return OtherTask(_such_as(next(iter(parts))), _MULTI_LABEL)
    return None


def other_task_of_table(table: datasets.Dataset) -> OtherTask | None:
    """What a table without a label column may be meant for; None if nothing suggests itself."""
    features = table.features
    schema = features.arrow_schema
    # Looked for once: a table may have a hundred thousand columns.
    words = word_columns(table)
    for column in table.column_names:
        kind, has_words = schema.field(column).type, bool(words - {column})
        found = other_task_of_column(features[column], kind, has_words)
        if found and column.lower() in _COLUMNS:
            return OtherTask(f"Column {column!r} holds {found.what}", found.task)
    some = table.with_format("arrow")[:100].to_pydict()  # a column alone copies all their types
    switches = [c for c, values in some.items() if {str(v) for v in values} == {"0", "1"}]
    if len(switches) > 1:
        listed = ", ".join(switches[:4])
        return OtherTask(f"Columns {listed} hold 0 and 1 each", _MULTI_LABEL)
    return None
