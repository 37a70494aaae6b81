"""A pandas table as one whose columns have a type each."""

from collections import Counter

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from pclora_lab.data.account import DataError
from pclora_lab.data.reading.tables import as_dataset

__all__ = ["from_frame"]

_PLAIN = "biufOMmUS"


def from_frame(frame: pd.DataFrame) -> datasets.Dataset:
    """The columns of a table in memory, without its index.

    Raises:
        DataError: two columns of one name, or values that can't be stored.

    Example:
        >>> from_frame(pd.DataFrame({"text": ["a"], "label": [1]}, index=[7])).column_names
        ['text', 'label']
    """
    names = [_name(name) for name in frame.columns]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(f"the DataFrame has two columns {twice[0]!r}: rename one of them")
    columns = {name: _values(frame.iloc[:, number], name) for number, name in enumerate(names)}
    return (
        datasets.Dataset.from_dict(columns)
        if _has_pictures(columns)
        else as_dataset(pa.table(columns))
    )


def _name(name: object) -> str:
    return " ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _values(column: pd.Series, name: str) -> list[object] | pa.Array:
    listed = [None if _is_none(value) else _picture(value) for value in column.tolist()]
    if any(isinstance(value, Image.Image) for value in listed):
        return listed
    try:
        return pa.array(listed)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    try:
        return pa.array([_word(value) for value in listed], pa.string())
    except (ValueError, TypeError) as error:
        raise DataError(f"column {name!r} of the DataFrame can't be stored: {error}") from error


def _word(value: object) -> str | None:
    # Among texts, pandas marks one that is missing by a number that is none.
    is_none = value is None or (isinstance(value, float) and value != value)
    return None if is_none else str(value)


def _picture(value: object) -> object:
    """An array of bytes, ``(height, width)`` or with channels behind, as the picture it is."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        return value
    is_one = value.size and (value.ndim == 2 or (value.ndim == 3 and value.shape[2] in (3, 4)))
    return Image.fromarray(value) if is_one else value


def _is_none(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT


def _has_pictures(columns: dict[str, list[object] | pa.Array]) -> bool:
    return any(isinstance(column, list) for column in columns.values())
