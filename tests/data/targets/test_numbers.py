"""Numbers as targets: columns, lists, what is no number, and what is the same everywhere."""

import datasets
import numpy as np
import pandas as pd
import pytest

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data
from pclora_lab.data.targets.drawn import digit_turns
from pclora_lab.data.targets.numbers import load_numbers

ROWS = 200


def table(**columns):
    texts = [f"text {row}" for row in range(ROWS)]
    return pd.DataFrame({"text": texts, **{k: pd.Series(v) for k, v in columns.items()}})


def values(**changes):
    return [changes.get(f"row{row}", row / 4) for row in range(ROWS)]


def together(data):
    """Every text with its numbers, whatever split it is in."""
    splits = (data.train, data.validation, data.test)
    return {
        text: row.tolist()
        for split in splits
        for text, row in zip(split.examples, split.targets, strict=True)
    }


def test_every_row_keeps_its_number():
    found = load_numbers(table(label=values()))
    assert found.class_names == ("label",) and found.targets == "numbers"
    assert together(found) == {f"text {row}": [row / 4] for row in range(ROWS)}
    assert found.train.targets.dtype == np.float32 and not found.train.labels.any()
    assert found.summary().endswith("1 numbers (label)")
    assert "200 found, 200 used" in str(found.account)


def test_several_columns_or_lists_are_several_numbers():
    columns = {"x": values(), "y": [str(-row) for row in range(ROWS)]}
    found = load_numbers(table(**columns), label_column="x, y")
    assert found.class_names == ("x", "y")
    assert together(found)["text 8"] == [2.0, -8.0]
    lists = {"text": [f"text {row}" for row in range(ROWS)]}
    lists["place"] = [[float(row), row * 2.0, 1.0 + row] for row in range(ROWS)]
    found = load_numbers(datasets.Dataset.from_dict(lists))
    assert found.class_names == ("place 0", "place 1", "place 2")
    assert together(found)["text 3"] == [3.0, 6.0, 4.0]


def test_what_is_no_number_is_left_out_and_counted():
    odd = {"row5": float("inf"), "row7": None, "row11": 1e300}
    found = load_numbers(table(score=pd.Series(values(**odd), dtype=object)), max_left_out=0.02)
    assert len(together(found)) == ROWS - 3 and "text 5" not in together(found)
    account = str(found.account)
    assert "1 without a target (row 7" in account
    assert "2 with a target that is NaN, infinite or no number (row 5" in account
    words = table(score=values(row3="n/a", row4=float("nan")))
    with pytest.raises(DataError, match="2 of 200 rows.*NaN, infinite or no number.*max_left_out"):
        load_numbers(words, max_left_out=0.005)
    short = {
        "text": [f"t{row}" for row in range(ROWS)],
        "y": [[1.0 * row] * 2 for row in range(ROWS)],
    }
    short["y"][9] = [1.0]
    found = load_numbers(datasets.Dataset.from_dict(short))
    assert "1 with another number of targets than 2 (row 9" in str(found.account)


def test_a_column_of_words_is_refused_by_name():
    with pytest.raises(
        DataError, match="'label' of 'DataFrame' holds words such as 'good'.*numbers"
    ):
        load_numbers(table(label=["good", "bad"] * (ROWS // 2)))


def test_the_column_is_guessed_or_asked_for():
    assert load_numbers(table(age=values())).class_names == ("age",)
    assert load_numbers(table(age=values(), score=values())).class_names == ("score",)
    with pytest.raises(DataError, match="no column of targets found.*age, size hold numbers"):
        load_numbers(table(age=values(), size=values()))
    with pytest.raises(DataError, match="no column of targets found.*none holds numbers"):
        load_numbers(table(word=["a"] * ROWS))
    with pytest.raises(DataError, match="no column 'weight'; its columns are text, age"):
        load_numbers(table(age=values()), label_column="age,weight")
    with pytest.raises(DataError, match="given twice: 'age'"):
        load_numbers(table(age=values()), label_column="age,age")


def test_a_target_that_never_changes_is_refused():
    with pytest.raises(DataError, match="'label' is 3 in every training row"):
        load_numbers(table(label=[3.0] * ROWS))


def test_splits_of_a_mapping_are_kept_and_one_without_targets_is_left_out():
    train, test = table(y=values()), table(y=values())
    test["text"] = "test " + test["text"]
    found = load_numbers({"train": train, "test": test, "extra": test.drop(columns="y")})
    assert len(found.test) == ROWS and all(t.startswith("test ") for t in found.test.examples)
    assert any("split extra has no y" in note for note in found.notes)
    with pytest.raises(DataError, match="more than one split train: join them"):
        load_numbers({"train": train, "training": test})


def test_data_of_classes_and_other_names_say_what_they_hold():
    with pytest.raises(DataError, match="digits has no numbers.*regression.*digit_turns"):
        load_numbers("digits")
    with pytest.raises(
        DataError, match="digit_turns holds numbers: set task to regression"
    ) as error:
        load_data("digit_turns")
    assert error.value.task == "regression"
    with pytest.raises(DataError, match="regression targets, which is another task: set task") as e:
        load_data(table(label=[row / 7 for row in range(ROWS)]))
    assert e.value.task == "regression"
    with pytest.raises(DataError, match="a list of numbers in each row") as error:
        load_data(datasets.Dataset.from_dict({"text": ["a"] * 9, "label": [[0.5, 1.5]] * 9}))
    assert error.value.task == "regression"


def test_a_turned_digit_is_the_digit_turned_by_its_target():
    turns, digits = digit_turns(), load_data("digits")
    assert turns.fingerprint() == digit_turns().fingerprint() != digit_turns(1).fingerprint()
    assert -60 <= turns.train.targets.min() < -55 and 55 < turns.train.targets.max() <= 60
    upright = np.asarray(digits.train.examples[0], dtype=float)
    angle = float(turns.train.targets[0, 0])
    back = np.asarray(turns.train.examples[0].rotate(-angle), dtype=float)
    wrong = np.asarray(turns.train.examples[0].rotate(angle), dtype=float)
    assert np.abs(back - upright).mean() < np.abs(wrong - upright).mean()


def test_targets_are_part_of_the_fingerprint():
    one, other = table(y=values()), table(y=values(row150=7.0))
    assert load_numbers(one).fingerprint() != load_numbers(other).fingerprint()
    assert load_numbers(one).fingerprint() == load_numbers(one.copy()).fingerprint()
