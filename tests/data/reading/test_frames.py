"""The columns of a DataFrame, whatever stands in them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pclora_lab.data.account import DataError
from pclora_lab.data.reading import frames
from pclora_lab.data.reading.frames import from_frame


def test_nothing_is_nothing_however_pandas_writes_it():
    mixed = pd.Series([1, "a", pd.NA, pd.NaT, None], dtype=object)
    stored = from_frame(pd.DataFrame({"label": mixed}))["label"]
    assert list(stored) == ["1", "a", None, None, None]


def test_a_text_that_is_missing_is_no_word_nan():
    for texts in (pd.Series(["a", None]), pd.Series(["a", np.nan], dtype=object)):
        assert list(from_frame(pd.DataFrame({"text": texts}))["text"]) == ["a", None]


def array(*shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("value", "is_picture"),
    [(array(4, 5), True), (array(4, 5, 3), True), (array(4, 5, 4), True), (array(4, 5, 2), False),
     (array(5), False), (array(0, 5), False), (array(4, 5, dtype=np.int64), False),
     (array(1, 4, 5, 3), False)],
)  # fmt: skip
def test_an_array_of_bytes_that_has_the_shape_of_a_picture_is_one(value, is_picture):
    assert isinstance(frames._picture(value), Image.Image) is is_picture
    if is_picture:
        found = from_frame(pd.DataFrame({"image": [value, None], "label": [0, 1]}))
        assert found[0]["image"].size == (5, 4) and found[1]["image"] is None


def test_columns_keep_their_types_and_mixed_ones_are_words():
    frame = pd.DataFrame(
        {("a", "b"): [1, 2], 7: [0.5, 2.0], "mixed": [1, "x"], "flag": [True, False]}
    )
    found = from_frame(frame)
    assert found.column_names == ["a b", "7", "mixed", "flag"]
    assert found[:] == {
        "a b": [1, 2], "7": [0.5, 2.0], "mixed": ["1", "x"], "flag": [True, False],
    }  # fmt: skip


def test_two_columns_of_one_name_are_refused_also_where_one_is_a_number():
    frame = pd.DataFrame([[1, 2, 3]], columns=["b", 1, "1"])
    with pytest.raises(DataError, match="the DataFrame has two columns '1': rename one"):
        from_frame(frame)
    with pytest.raises(DataError, match="has two columns 'a': rename"):
        from_frame(pd.DataFrame([[1, 2, 3, 4]], columns=["b", "b", "a", "a"]))
