"""Numbers as targets: one column or several, or a list of numbers in each row."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from pclora_lab.data.account import DataError
from pclora_lab.data.columns import LABEL_NAMES, Columns, find_columns
from pclora_lab.data.labels import arrow_column, is_missing
from pclora_lab.data.splits import LabeledData, Split
from pclora_lab.data.targets.drawn import digit_turns
from pclora_lab.data.targets.reading import Rows, TargetReader, label_columns, read_targets
from pclora_lab.wording import listed

__all__ = ["load_numbers"]

_NAMES = (*LABEL_NAMES, "targets", "score", "scores", "value", "values", "rating", "similarity")

_SAMPLE = 1000


def load_numbers(data: Any, **settings: Any) -> LabeledData:
    """Read examples whose targets are numbers; see :func:`read_targets`.

    Rows whose target is missing, NaN, infinite or no number are left out and counted.

    Args:
        data: ``digit_turns``, or what :func:`pclora_lab.load_data` takes.
        settings: :func:`pclora_lab.load_data`'s; ``label_column`` may name several columns with
            commas between.

    Raises:
        DataError: as :func:`read_targets`; also a column of words, or targets that are all the
            same.

    Example:
        >>> turns = load_numbers("digit_turns")
        >>> turns.class_names, turns.train.targets.shape
        (('degrees',), (1077, 1))
    """
    return read_targets(_Numbers(), data, **settings)


class _Numbers(TargetReader):
    kind = "numbers"
    task = "regression"
    drawn = "digit_turns"

    def draw(self) -> LabeledData:
        return digit_turns()

    def find(
        self,
        table: datasets.Dataset,
        given: Mapping[str, str | None],
        pair: Sequence[str] | None,
        data: str,
    ) -> tuple[Columns, tuple[str, ...]]:
        named = given.get("label")
        labels = label_columns(table, named, data) if named else (_guessed(table, data),)
        return find_columns(table, {**given, "label": labels[0]}, data, pair), labels

    def names(self, table: datasets.Dataset, labels: tuple[str, ...], data: str) -> tuple[str, ...]:
        """The columns', numbered where one of them holds lists."""
        names: list[str] = []
        for label in labels:
            values = [value for value in _some(table, label) if not is_missing(value)]
            lists = [value for value in values if isinstance(value, list)]
            if lists:
                names += [f"{label} {number}" for number in range(len(lists[0]))]
                continue
            if values and all(math.isnan(_number(value)) for value in values):
                raise DataError(
                    f"column {label!r} of {data!r} holds {_shown(values[0])}, and regression "
                    "needs numbers: choose text-classification or image-classification as the "
                    f"task, or pass another label_column ({listed(table.column_names)})"
                )
            names.append(label)
        return tuple(names)

    def rows(
        self,
        table: datasets.Dataset,
        columns: Columns,
        labels: tuple[str, ...],
        names: tuple[str, ...],
    ) -> Rows:
        parts = [_values(table, label) for label in labels]
        rows = [[number for part in parts for number in part[row]] for row in range(len(table))]
        is_short = np.array([len(row) != len(names) for row in rows])
        empty = [math.nan] * len(names)
        known = np.array([row if len(row) == len(names) else empty for row in rows], np.float64)
        with np.errstate(over="ignore"):  # what is too large for float32 is infinite there
            numbers = known.astype(np.float32).reshape(len(rows), len(names))
        is_none = np.array([None in row for row in rows])
        faults: dict[str, np.ndarray] = {
            "without a target": is_none,
            f"with another number of targets than {len(names)}": is_short,
            "with a target that is NaN, infinite or no number": np.isfinite(numbers).sum(axis=1)
            < len(names),
        }
        return Rows(numbers, faults)

    def check(self, train: Split, names: tuple[str, ...], data: str) -> None:
        assert isinstance(train.targets, np.ndarray)
        for name, values in zip(names, train.targets.T, strict=True):
            if values.min() == values.max():
                raise DataError(
                    f"data {data!r}: the target {name!r} is {values[0]:g} in every training row, "
                    "so that there is nothing to learn: pass another label_column"
                )


def _guessed(table: datasets.Dataset, data: str) -> str:
    """A column of numbers with a usual name, or the only one.

    A usual name of a column of words is returned too, to be refused with what it holds.
    """
    holding = [name for name in table.column_names if _holds_numbers(table, name)]
    plausible = [name for name in holding if not name.lower().startswith(("__index", "unnamed"))]
    words = [name for name in table.column_names if name not in plausible] if not plausible else []
    plain = {name.strip().lower(): name for name in reversed(plausible or words)}
    named = [plain[name] for name in _NAMES if name in plain]
    if not named and len(plausible) != 1:
        found = f"{listed(plausible)} hold numbers" if plausible else "none holds numbers"
        raise DataError(
            f"no column of targets found in {data!r}: of its columns "
            f"({listed(table.column_names)}) {found}; pass label_column, several with commas "
            "between"
        )
    return (named or plausible)[0]


def _holds_numbers(table: datasets.Dataset, column: str) -> bool:
    kind = table.features.arrow_schema.field(column).type
    if pa.types.is_struct(kind) or pa.types.is_binary(kind):
        return False  # pictures, which are large
    values = [value for value in _some(table, column) if not is_missing(value)]
    parts = [part for value in values for part in (value if isinstance(value, list) else [value])]
    numbers = [p for p in parts if not isinstance(p, bool) and not math.isnan(_number(p))]
    return 2 * len(numbers) > len(parts)


def _some(table: datasets.Dataset, column: str) -> list[Any]:
    return arrow_column(table, column)[:_SAMPLE].to_pylist()


def _values(table: datasets.Dataset, column: str) -> list[list[float | None]]:
    """The numbers of each row; NaN for what is none, None for what is not there."""
    stored = arrow_column(table, column)
    if pa.types.is_decimal(stored.type):
        stored = stored.cast(pa.float64())
    return [
        [_number(part) for part in value]
        if isinstance(value, list)
        else [None if value is None or value == "" else _number(value)]
        for value in stored.to_pylist()
    ]


def _number(value: object) -> float:
    """NaN for what is no number.

    Example:
        >>> _number("1.5"), _number(True), _number("much")
        (1.5, 1.0, nan)
    """
    if not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _shown(value: object) -> str:
    return f"words such as {value[:60]!r}" if isinstance(value, str) else type(value).__name__
