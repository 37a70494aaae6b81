"""Several labels at once, however a table writes them down."""

import datasets
import numpy as np
import pandas as pd
import pytest

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data
from pclora_lab.data.segmentation.scenes import digit_scenes
from pclora_lab.data.targets.drawn import scene_digits
from pclora_lab.data.targets.label_sets import load_label_sets

ROWS = 120
SETS = [("war",), ("drama", "comedy"), (), ("comedy",)]
TEXTS = [f"text {row}" for row in range(ROWS)]


def several(*values):
    return [values[row % len(values)] for row in range(ROWS)]


def together(data):
    """Every text with its labels, whatever split it is in."""
    return {
        text: {name for name, there in zip(data.class_names, row, strict=True) if there}
        for split in (data.train, data.validation, data.test)
        for text, row in zip(split.examples, split.targets, strict=True)
    }


WANTED = {text: set(SETS[row % 4]) for row, text in enumerate(TEXTS)}


def made(labels):
    return datasets.Dataset.from_dict({"text": TEXTS, "genres": labels})


@pytest.mark.parametrize(
    "table",
    [
        made(several(*map(list, SETS))),
        made(several("['war']", "['drama', 'comedy']", "[]", '["comedy"]')),
        datasets.Dataset.from_dict(
            {"text": TEXTS, "y": several([2], [1, 0], [], [0])},
            features=datasets.Features({
                "text": datasets.Value("string"),
                "y": datasets.List(datasets.ClassLabel(names=["comedy", "drama", "war"])),
            }),
        ),
        datasets.Dataset.from_dict({
            "text": TEXTS, "comedy": several(0, 1, 0, 1), "drama": several(0, 1, 0, 0),
            "war": several(True, False, False, False),
        }),
    ],
    ids=["lists", "written", "numbers", "columns"],
)  # fmt: skip
def test_every_row_keeps_its_labels(table):
    found = load_label_sets(
        table, label_column="comedy,drama,war" if "war" in table.features else None
    )
    assert found.class_names == ("comedy", "drama", "war") and found.targets == "labels"
    assert together(found) == WANTED
    assert found.train.targets.dtype == np.float32
    assert "3 labels (comedy, drama, war)" in found.summary()


@pytest.mark.parametrize("mark", ["|", ";", ", "])
def test_words_with_a_mark_between(mark):
    cells = several(f"war{mark}drama", "comedy", f"drama{mark} comedy{mark}")
    found = load_label_sets(made(cells))
    assert set(map(frozenset, together(found).values())) == {
        frozenset({"war", "drama"}), frozenset({"comedy"}), frozenset({"drama", "comedy"})
    }  # fmt: skip


def test_a_zero_or_one_for_each_label_in_a_list():
    found = load_label_sets(made(several([0, 1, 1], [1, 0, 0], [0, 0, 0])))
    assert found.class_names == ("0", "1", "2")
    assert together(found)["text 0"] == {"1", "2"} and together(found)["text 2"] == set()
    numbers = load_label_sets(made(several([0, 1], [1], [0])))
    assert together(numbers)["text 0"] == {"0", "1"} and together(numbers)["text 1"] == {"1"}
    switches = load_label_sets(made(several([0, 1], [1, 1], [0, 0])))
    assert together(switches)["text 0"] == {"1"} and together(switches)["text 2"] == set()


def test_columns_of_switches_are_guessed():
    columns = {
        "text": TEXTS,
        "toxic": several(0, 1),
        "rude": several(1, 0, 0),
        "size": several(3, 9),
    }
    found = load_label_sets(pd.DataFrame(columns))
    assert found.class_names == ("toxic", "rude")
    columns["rude"] = several(1, 0, 0)[:-1] + [7]
    account = str(load_label_sets(pd.DataFrame(columns), label_column="toxic,rude").account)
    assert "1 with something else than 0 and 1 for a label (row 119" in account
    columns["rude"] = several(1, 0, 0)[:-1] + [None]
    account = str(load_label_sets(pd.DataFrame(columns), label_column="toxic,rude").account)
    assert "1 without labels (row 119" in account


def test_a_column_with_one_word_in_each_row_is_refused():
    with pytest.raises(
        DataError, match="'genres' of 'Dataset' holds one label in each row, such as "
    ):
        load_label_sets(made(several("war", "comedy")))
    with pytest.raises(DataError, match="has 1 label: several are needed"):
        load_label_sets(made(several(["war"], [])))
    with pytest.raises(DataError, match="no column of labels found.*none holds lists"):
        load_label_sets(pd.DataFrame({"text": TEXTS, "size": several(1, 2, 3)}))


def test_labels_that_training_rows_do_not_have_are_named_and_left_out():
    test = {"text": [f"new {row}" for row in range(ROWS)], "genres": several(*map(list, SETS))}
    test["genres"][5] = ["drama", "western"]
    tables = {"train": made(several(*map(list, SETS))), "test": datasets.Dataset.from_dict(test)}
    found = load_label_sets(tables)
    assert "1 with labels that train does not have: ['western']" in str(found.account)
    assert "new 5" not in together(found)
    with pytest.raises(DataError, match="1 of 120 rows of test.*western"):
        load_label_sets(tables, max_left_out=0.0)


def test_the_task_is_told_where_classes_are_asked_for():
    for table in (
        made(several(["a"], ["a", "b"])),
        pd.DataFrame({"text": TEXTS, "label": several("a|b", "b", "a")}),
        pd.DataFrame({"text": TEXTS, "toxic": several(0, 1), "rude": several(1, 0, 0)}),
        "scene_digits",
    ):
        column = "genres" if isinstance(table, datasets.Dataset) else None
        with pytest.raises(DataError, match="set task to multi-label-classification") as error:
            load_data(table, label_column=column)
        assert error.value.task == "multi-label-classification"


def test_scene_digits_are_those_that_can_be_seen():
    found, scenes = scene_digits(), digit_scenes()
    assert found.class_names == tuple("0123456789")
    for target, mask in list(zip(found.test.targets, scenes.test.masks, strict=True))[:40]:
        pixels = np.asarray(mask)
        seen = {n for n in range(10) if (pixels == n + 1).sum() >= 12}
        assert {int(n) for n in np.flatnonzero(target)} == seen
    assert found.fingerprint() != scenes.fingerprint()
    per_scene = found.train.targets.sum(1)
    assert 1 <= per_scene.min() and per_scene.mean() > 2
