"""The classes of a label column: what is a label, which is which class, and what is refused."""

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from records import assert_fixed

from pclora_lab.data.account import DataError
from pclora_lab.data.labels import (
    Classes,
    LabelColumn,
    arrow_column,
    classes_of,
    is_missing,
    label_word,
)


def column(values: list, feature: object = None) -> LabelColumn:
    features = None if feature is None else datasets.Features({"y": feature})
    return LabelColumn.of(datasets.Dataset.from_dict({"y": values}, features), "y", "some.csv")


def classes(values: list, feature: object = None, texts=()) -> Classes:
    return classes_of(column(values, feature), "y", "some.csv", "text, y", list(texts))


@pytest.mark.parametrize(
    ("value", "word"),
    [(1, "1"), (1.0, "1"), ("1.00", "1"), (-3.0, "-3"), (1.5, "1.5"), (" spam ", "spam"),
     ("v1.0", "v1.0"), ("1.0.0", "1.0.0"), ("1.0 a", "1.0 a"), (True, "True"), ("1.", "1.")],
)  # fmt: skip
def test_a_label_is_a_word_and_a_whole_number_has_no_fraction(value, word):
    assert label_word(value) == word


@pytest.mark.parametrize("value", [None, "", " \t\n", float("nan"), np.nan])
def test_what_says_nothing_is_missing(value):
    assert is_missing(value)


@pytest.mark.parametrize("value", [0, 0.0, False, "0", "nan", " a "])
def test_what_says_something_is_not(value):
    assert not is_missing(value)


def test_every_row_has_the_number_of_its_word_or_none():
    found = column(["b", None, "a", " b ", "", "a", "b"])
    assert found.words == ("b", "a") and found.codes.tolist() == [0, -1, 1, 0, -1, 1, 0]
    assert found.counts == {"b": 3, "a": 2} and found.names is None and found.is_labeled
    assert found.codes.dtype == np.int64


def test_numbers_that_read_the_same_are_one_label():
    assert column([1.0, 2.0, float("nan"), 1.0]).words == ("1", "2")
    assert column([1.0, 2.0, float("nan"), 1.0]).codes.tolist() == [0, 1, -1, 0]


def test_named_classes_are_known_by_their_numbers_and_minus_one_is_none():
    found = column([1, -1, 0, 1], datasets.ClassLabel(names=["ham", "spam"]))
    assert found.names == ("ham", "spam") and found.words == ("1", "0")
    assert found.codes.tolist() == [0, -1, 1, 0]
    nothing = column([-1, -1], datasets.ClassLabel(names=["ham", "spam"]))
    assert nothing.words == () and nothing.counts == {} and not nothing.is_labeled


@pytest.mark.parametrize(
    ("values", "is_labeled"), [([-1, -1], False), ([-1, 0], True), ([], False)]
)
def test_a_split_of_minus_ones_has_no_labels(values, is_labeled):
    found = column(values, datasets.Value("int64"))
    assert found.is_labeled is is_labeled
    assert found.counts == ({"-1": len(values) - is_labeled} | ({"0": 1} if is_labeled else {})
                            if values else {})  # fmt: skip


def test_words_that_are_stored_once_each_and_in_parts_are_read_as_they_are():
    parts = [pa.array(["a", "b", "a"]), pa.array(["b", None, "c"])]
    table = datasets.Dataset(
        pa.table({"y": pa.chunked_array([p.dictionary_encode() for p in parts])})
    )
    found = LabelColumn.of(table, "y", "some")
    assert [found.words[code] if code >= 0 else None for code in found.codes] == [
        "a", "b", "a", "b", None, "c"
    ]  # fmt: skip


def test_a_column_is_read_in_the_order_of_the_rows():
    table = datasets.Dataset.from_dict({"y": ["a", "b", "c"], "other": [1, 2, 3]})
    assert arrow_column(table.select([2, 0]), "y").to_pylist() == ["c", "a"]


@pytest.mark.parametrize("values", [[[1, 2], [3]], [{"a": 1}, {"a": 2}], [[0.5], [0.25]]])
def test_a_column_of_another_task_is_named_with_the_others(values):
    with pytest.raises(
        DataError,
        match=r"^column 'y' of 'some.csv' is no label column: it holds .*"
        r"pass another label_column \(y\)$",
    ):
        column(values)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a", "b"], ("a", "b")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        ([True, False], ("False", "True")),
    ],
)
def test_classes_are_in_the_order_of_their_numbers_or_else_of_the_alphabet(values, names):
    found = classes(values)
    assert found.names == names and not found.is_named
    assert found.numbers == {name: number for number, name in enumerate(names)}


def test_named_classes_keep_the_order_and_the_spelling_of_the_table():
    feature = datasets.ClassLabel(names=["Spam", "ham", "spam"])
    found = classes([0, 2, 0], feature)
    assert found == Classes(("Spam", "ham", "spam"), {"0": 0, "1": 1, "2": 2}, True)


def test_spellings_of_one_class_are_joined_and_noted():
    found = classes(["Ham"] * 3 + ["ham", "spam", "SPAM", "spam"])
    assert found.names == ("Ham", "spam")
    assert found.numbers == {"Ham": 0, "ham": 0, "spam": 1, "SPAM": 1}
    assert found.notes == ("1 'ham' counted as 'Ham'", "1 'SPAM' counted as 'spam'")


def test_every_row_is_of_a_class_of_none_or_of_one_that_is_unknown():
    made = classes(["ham", "spam"])
    later = column(["spam", None, "HAM", "eggs", "ham", "spam"])
    assert made.of(later).tolist() == [1, -1, 0, -2, 0, 1]
    assert made.of(later).dtype == np.int64
    named = Classes(("no", "yes"), {"0": 0, "1": 1}, True)
    assert named.of(column([1, 0, 2])).tolist() == [1, 0, -2]


@pytest.mark.parametrize("values", [["a", "a"], ["a", None], [None], ["Ham", "ham"]])
def test_one_class_is_too_few(values):
    count = 0 if values == [None] else 1
    with pytest.raises(
        DataError,
        match=f"^data 'some.csv' has {count} class in column 'y': a "
        "classifier needs two or more; is it the right",
    ):
        classes(values, datasets.Value("string"))
    with pytest.raises(DataError, match="has 1 class"):
        classes([1, 1, -1], datasets.ClassLabel(names=["ham", "spam"]))


def words(different: int, repeated: int) -> list[str]:
    found = [f"w{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(different)]
    return [*found, *found[:repeated]]


@pytest.mark.parametrize(
    ("different", "repeated", "is_refused"),
    [(21, 0, True), (20, 0, False), (21, 19, True), (21, 20, True), (21, 21, False)],
)
def test_more_than_twenty_values_of_which_most_stand_alone_are_no_classes(
    different, repeated, is_refused
):
    values = words(different, repeated)
    if not is_refused:
        assert len(classes(values).names) == different
        return
    with pytest.raises(
        DataError,
        match=rf"'y' of 'some.csv' has 21 different values in "
        rf"{len(values)} rows, .* another label_column \(text, y\)$",
    ):
        classes(values)


def test_labels_of_another_task_are_refused_unless_the_table_names_its_classes():
    with pytest.raises(
        DataError,
        match=r"^column 'y' of 'some.csv' holds fractions such as 0.5.*"
        r"pass another label_column \(text, y\)$",
    ):
        classes([0.5, 1.25])
    with pytest.raises(DataError, match="holds as many words as the text"):
        classes(["N V", "D", "N V"], texts=[("dogs bark", "N V"), ("the", "D")])
    feature = datasets.ClassLabel(names=["0.5", "1.25"])
    assert classes([0, 1], feature).names == ("0.5", "1.25")


def test_a_frame_is_read_like_any_table():
    made = datasets.Dataset.from_pandas(pd.DataFrame({"y": pd.Categorical(["b", "a", "b"])}))
    assert LabelColumn.of(made, "y", "frame").counts == {"b": 2, "a": 1}


def test_what_was_read_can_not_be_changed():
    assert_fixed(column(["a", "b"]), classes(["a", "b"]))
