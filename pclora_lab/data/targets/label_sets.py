"""Several labels at once: lists, words with a mark between, or a column of 0 and 1 for each."""

import ast
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from pclora_lab.data.account import DataError
from pclora_lab.data.columns import LABEL_NAMES, Columns, find_columns
from pclora_lab.data.labels import arrow_column, is_missing, label_word, ordered_words
from pclora_lab.data.splits import LabeledData
from pclora_lab.data.targets.drawn import scene_digits
from pclora_lab.data.targets.reading import Rows, TargetReader, label_columns, read_targets
from pclora_lab.wording import listed

__all__ = ["load_label_sets"]

_NAMES = (*LABEL_NAMES, "genres", "categories", "topics", "classes", "tags")

_MARKS = ("|", ";", ",")

_SAMPLE = 1000


def load_label_sets(data: Any, **settings: Any) -> LabeledData:
    """Read examples with any number of labels; see :func:`read_targets`.

    A row's target is a 1 for each label that it has, and a 0 for each other. Labels are names or
    numbers in a list, words with ``|``, ``;`` or ``,`` between, one 0 or 1 for each label in a
    list, or a column of 0 and 1 for each. A row with labels that the training split does not have
    is left out and counted.

    Args:
        data: ``scene_digits``, or what :func:`pclora_lab.load_data` takes.
        settings: :func:`pclora_lab.load_data`'s; ``label_column`` may name several columns with
            commas between.

    Raises:
        DataError: as :func:`read_targets`; also a column with one word in each row.

    Example:
        >>> digits = load_label_sets("scene_digits")
        >>> digits.class_names[:3], digits.train.targets.shape[1], digits.train.targets.max()
        (('0', '1', '2'), 10, np.float32(1.0))
    """
    return read_targets(_LabelSets(), data, **settings)


class _LabelSets(TargetReader):
    kind = "labels"
    task = "multi-label-classification"
    drawn = "scene_digits"

    def draw(self) -> LabeledData:
        return scene_digits()

    def find(
        self,
        table: datasets.Dataset,
        given: Mapping[str, str | None],
        pair: Sequence[str] | None,
        data: str,
    ) -> tuple[Columns, tuple[str, ...]]:
        named = given.get("label")
        labels = label_columns(table, named, data) if named else _guessed(table, data)
        return find_columns(table, {**given, "label": labels[0]}, data, pair), labels

    def names(self, table: datasets.Dataset, labels: tuple[str, ...], data: str) -> tuple[str, ...]:
        """Of the columns, or the labels that occur, in their order."""
        if len(labels) > 1:
            return labels
        cells = _Cells.of(table, labels[0])
        if cells.mark == "":
            _refuse_words(cells, table, labels[0], data)
        found = cells.names if cells.names is not None else ordered_words(cells.words())
        if len(found) < 2:
            raise DataError(
                f"column {labels[0]!r} of {data!r} has {len(found)} label: several are needed, or "
                "another task; is it the right label_column?"
            )
        return tuple(found)

    def rows(
        self,
        table: datasets.Dataset,
        columns: Columns,
        labels: tuple[str, ...],
        names: tuple[str, ...],
    ) -> Rows:
        if len(labels) > 1:
            return _switched(table, labels)
        cells = _Cells.of(table, labels[0])
        number = {name: i for i, name in enumerate(names)}
        targets = np.zeros((len(table), len(names)), dtype=np.float32)
        is_none, is_other = (np.zeros(len(table), dtype=bool) for _ in range(2))
        unknown: Counter[str] = Counter()
        for row, words in enumerate(cells.rows):
            is_none[row] = words is None
            others = [word for word in words or () if word not in number]
            unknown.update(others)
            is_other[row] = bool(others)
            targets[row, [number[word] for word in words or () if word in number]] = 1
        which = sorted(unknown, key=lambda word: (-unknown[word], word))[:5]
        faults = {
            "without labels": is_none,
            f"with labels that train does not have: {which}": is_other,
        }
        return Rows(targets, faults)


class _Cells:
    """A column as the labels of each row.

    Attributes:
        rows: the words of each; None where a row has no value.
        names: of all labels, where the column's type or length gives them; else None.
        mark: between the words of one cell; empty where each holds one word, None for lists.
    """

    def __init__(
        self, rows: list[list[str] | None], names: tuple[str, ...] | None, mark: str | None
    ) -> None:
        self.rows, self.names, self.mark = rows, names, mark

    def words(self) -> set[str]:
        """Those that occur."""
        return {word for row in self.rows for word in row or ()}

    @classmethod
    def of(cls, table: datasets.Dataset, column: str) -> "_Cells":
        """Read a column, whichever way it writes labels down."""
        names = _names_of(table.features[column])
        values = arrow_column(table, column).to_pylist()
        values = [_written(value) if isinstance(value, str) else value for value in values]
        lists = [value for value in values if isinstance(value, list)]
        if not lists:
            mark = _mark_of(value for value in values if isinstance(value, str))
            return cls([_divided(value, mark) for value in values], None, mark)
        if _are_switches(lists):
            names = tuple(map(str, range(len(lists[0]))))
            values = [v and [n for n, one in enumerate(v) if one] for v in values]
        rows = [_words(value, names) for value in values]
        return cls(rows, names, None)


def _names_of(feature: Any) -> tuple[str, ...] | None:
    """Of a list whose elements the table names."""
    inner = getattr(feature, "feature", None)
    return tuple(inner.names) if isinstance(inner, datasets.ClassLabel) else None


def _words(value: Any, names: tuple[str, ...] | None) -> list[str] | None:
    if not isinstance(value, list):
        return None if is_missing(value) else [label_word(value)]
    found = [label_word(one) for one in value if not is_missing(one)]
    if names is None:
        return found
    return [names[int(w)] if w.isdigit() and int(w) < len(names) else w for w in found]


def _written(value: str) -> Any:
    """A list that was written down, as in a CSV file; anything else as it is.

    Example:
        >>> _written("['a', 'b']"), _written("[1]"), _written("a [b]")
        (['a', 'b'], [1], 'a [b]')
    """
    if not value.strip().startswith("["):
        return value
    try:
        read = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
    return read if isinstance(read, list) else value


def _mark_of(cells: Iterable[str]) -> str:
    """What stands between the words of most cells; empty where nothing does."""
    counts = Counter(mark for cell in cells for mark in _MARKS if mark in cell)
    return max(_MARKS, key=lambda mark: counts[mark]) if counts else ""


def _divided(value: Any, mark: str) -> list[str] | None:
    if is_missing(value):
        return None
    words = str(value).split(mark) if mark else [label_word(value)]
    return [word.strip() for word in words if word.strip()]


def _are_switches(lists: list[list[Any]]) -> bool:
    """Whether each list has a 0 or 1 for every label, in place of the labels' numbers."""
    length = len(lists[0])
    if length < 2 or any(len(row) != length for row in lists):
        return False
    if any(one not in (0, 1) or isinstance(one, str) for row in lists for one in row):
        return False
    # Of two labels, [0, 1] may be the numbers of both; a number that repeats is none.
    return length > 2 or any(row[0] == row[1] for row in lists)


def _switched(table: datasets.Dataset, labels: tuple[str, ...]) -> Rows:
    """A column of 0 and 1 for each label."""
    columns = [arrow_column(table, label).to_pylist() for label in labels]
    allowed = {"0": 0.0, "1": 1.0, "False": 0.0, "True": 1.0}
    values = [
        [None if is_missing(v) else allowed.get(label_word(v), np.nan) for v in column]
        for column in columns
    ]
    found = np.array(values, dtype=np.float32).T.reshape(len(table), len(labels))
    is_none = np.array([[v is None for v in column] for column in values]).sum(0) > 0
    faults: dict[str, np.ndarray] = {
        "without labels": is_none,
        "with something else than 0 and 1 for a label": (np.isnan(found).sum(1) > 0) & ~is_none,
    }
    return Rows(found, faults)


def _refuse_words(cells: _Cells, table: datasets.Dataset, column: str, data: str) -> None:
    first = next((row[0] for row in cells.rows if row), "")
    kinds = "text-classification or image-classification"
    raise DataError(
        f"column {column!r} of {data!r} holds one label in each row, such as {first[:60]!r}, and "
        f"no lists and no marks ({' '.join(_MARKS)}) between labels: that is {kinds}; or pass "
        f"another label_column, several with commas between ({listed(table.column_names)})"
    )


def _guessed(table: datasets.Dataset, data: str) -> tuple[str, ...]:
    """A column of lists, one with a usual name, or all columns of 0 and 1."""
    have = table.column_names
    plain = {name.strip().lower(): name for name in reversed(have)}
    named = [plain[name] for name in _NAMES if name in plain]
    lists = [name for name in have if _is_list(table.features.arrow_schema.field(name).type)]
    switches = [name for name in have if _is_switch(table, name)]
    found = [name for name in named if name in lists] or named[:1] or lists[:1]
    if found and (found[0] not in switches or len(switches) < 2):
        return (found[0],)
    if len(switches) > 1:
        return tuple(switches)
    raise DataError(
        f"no column of labels found in {data!r}: of its columns ({listed(have)}) none holds lists, "
        "and no two hold 0 and 1; pass label_column, several with commas between"
    )


def _is_list(kind: pa.DataType) -> bool:
    is_list = isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType)
    return is_list and not pa.types.is_floating(kind.value_type)


def _is_switch(table: datasets.Dataset, column: str) -> bool:
    kind = table.features.arrow_schema.field(column).type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return False
    some = arrow_column(table, column)[:_SAMPLE].to_pylist()
    words = {label_word(value) for value in some if not is_missing(value)}
    return bool(words) and (words <= {"0", "1"} or words <= {"False", "True"})
