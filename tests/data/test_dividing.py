"""Rows held out of a split: how many, and of which classes."""

from collections import Counter

import numpy as np
import pytest

from pclora_lab.data.account import DataError
from pclora_lab.data.dividing import divide, take_rows, three_splits
from pclora_lab.data.splits import Split


def held_out(labels, share):
    split = Split([f"text {row}" for row in range(len(labels))], np.array(labels))
    kept, held = divide(split, share)
    assert sorted(kept.examples + held.examples) == sorted(split.examples)
    return Counter(held.labels.tolist())


def test_a_small_share_has_as_many_rows_as_there_are_classes():
    assert sum(held_out([0] * 90 + [1] * 60 + [2] * 50, 0.001).values()) == 3


def test_a_class_of_one_row_makes_no_more_rows_be_held_out_than_asked():
    assert sum(held_out([0] * 49 + [1], 0.01).values()) == 1
    assert sum(held_out([0] * 49 + [1], 0.1).values()) == 5


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25])
def test_classes_are_held_out_in_proportion(share):
    assert held_out([0] * 80 + [1] * 40, share) == {0: 80 * share, 1: 40 * share}


def test_classes_of_two_rows_are_held_out_in_proportion_too():
    """Of every class one row to learn from and one to test on: 20 classes, 40 rows."""
    assert held_out([label for label in range(20) for _ in range(2)], 0.5) == dict.fromkeys(
        range(20), 1
    )


def split(rows: int, prefix: str = "text", classes: int = 2) -> Split:
    return Split([f"{prefix} {row}" for row in range(rows)], np.arange(rows) % classes)


def test_rows_are_taken_in_the_order_that_is_asked_for():
    taken = take_rows(split(5), np.array([3, 0, 3]))
    assert taken.examples == ["text 3", "text 0", "text 3"] and taken.labels.tolist() == [1, 0, 1]


def test_the_same_rows_are_held_out_every_time_and_each_part_keeps_its_order():
    kept, held = divide(split(50), 0.2)
    again = divide(split(50), 0.2)
    assert [part.examples for part in again] == [kept.examples, held.examples]
    for part in (kept, held):
        numbers = [int(text.split()[1]) for text in part.examples]
        assert numbers == sorted(numbers) and part.labels.tolist() == [n % 2 for n in numbers]
    assert held.examples != [f"text {row}" for row in range(40, 50)], "they are drawn"


@pytest.mark.parametrize(("asked", "rows"), [(7, 7), (0.1, 5), (0.11, 6), (10, 10)])
def test_as_many_rows_are_held_out_as_asked_and_a_share_is_rounded_up(asked, rows):
    kept, held = divide(split(50), asked)
    assert (len(held), len(kept)) == (rows, 50 - rows)


@pytest.mark.parametrize("asked", [0.2, 8])
@pytest.mark.parametrize("paired", [True, False])
def test_repeated_texts_stay_together(asked, paired):
    texts = [("pair", f"{row // 2}") if paired else f"text {row // 2}" for row in range(40)]
    kept, held = divide(Split(texts, np.arange(40) // 2 % 2), asked)
    assert not set(kept.examples) & set(held.examples)
    assert len(kept) + len(held) == 40 and len(held) == 8


def test_pictures_are_divided_without_being_compared():
    class Picture:
        def __eq__(self, other):
            raise AssertionError("compared")

    pictures = [Picture() for _ in range(20)]
    kept, held = divide(Split(pictures, np.arange(20) % 2), 0.2)
    assert (len(kept), len(held)) == (16, 4)


def test_too_few_rows_are_counted_with_their_classes():
    with pytest.raises(
        DataError,
        match=r"^3 rows of 2 classes are too few to hold some out for "
        r"validation or test: add rows, .* your own \(.+\)$",
    ):
        divide(Split(["a", "b", "c"], np.array([0, 1, 1])), 3)


SPLITS = {"train": split(100), "validation": split(20, "v"), "test": split(30, "t")}


def divided(*names: str) -> tuple[dict[str, Split], list[str]]:
    notes: list[str] = []
    return three_splits(
        "mail", {name: SPLITS.get(name, SPLITS["train"]) for name in names}, notes
    ), notes


def test_splits_that_are_there_are_taken_as_they_are():
    found, notes = divided("train", "validation", "test")
    assert all(found[name] is SPLITS[name] for name in SPLITS) and notes == []


@pytest.mark.parametrize("name", ["train", "default", "validation"])
def test_one_split_of_any_name_is_divided_into_three(name):
    notes: list[str] = []
    found = three_splits("mail", {name: SPLITS["train"]}, notes)
    assert {key: len(part) for key, part in found.items()} == {
        "train": 72, "validation": 8, "test": 20
    }  # fmt: skip
    texts = [text for part in found.values() for text in part.examples]
    assert sorted(texts) == sorted(SPLITS["train"].examples)
    assert notes == [
        "no test split: a fifth of the training rows is held out as one",
        "no validation split: a tenth of the training rows is held out as one",
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("validation", ["no labeled test split: the validation split is reported on instead"]),
        ("test", []),
    ],
)
def test_of_two_splits_the_second_is_reported_on_and_a_tenth_of_the_first_validates(given, told):
    found, notes = divided("train", given)
    assert found["test"] is SPLITS[given]
    assert (len(found["train"]), len(found["validation"])) == (90, 10)
    held_out = "no validation split: a tenth of the training rows is held out as one"
    assert notes == [*told, held_out]


def test_nothing_to_train_on_is_refused_with_what_there_is():
    with pytest.raises(
        DataError,
        match="^data 'mail' has the splits validation, test and none to "
        "train on: name one of them train$",
    ):
        three_splits("mail", {"validation": split(20), "test": split(20)}, [])


@pytest.mark.parametrize("short", ["train", "validation", "test"])
def test_ten_rows_of_each_split_are_the_least(short):
    parts = {name: split(10, name) for name in SPLITS}
    assert three_splits("mail", parts, []) == parts
    with pytest.raises(DataError, match="^data 'mail' has fewer than 10 examples in a split"):
        three_splits("mail", {**parts, short: split(9)}, [])


def test_rows_that_can_not_be_divided_are_told_with_the_data():
    same = Split(["one text"] * 12, np.arange(12) % 2)
    with pytest.raises(DataError, match="^data 'mail': 12 rows of 2 classes are too few to hold"):
        three_splits("mail", {"train": same}, [])
