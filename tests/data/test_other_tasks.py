"""Labels of other tasks are recognized and refused by name; classes that look odd are not."""

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data

ROWS = 120


def table(labels, **columns) -> pd.DataFrame:
    texts = [f"one {'two ' * (row % 3 == 0)}text{row}" for row in range(ROWS)]
    return pd.DataFrame({"text": texts, "label": pd.Series(labels, dtype=object)} | columns)


def several(*values):
    return [values[i % len(values)] for i in range(ROWS)]


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (several([0, 1], [1], [0]), "multi-label"),
        (several(["a"], ["a", "b"]), "multi-label"),
        (several("comedy", "comedy|drama", "drama", "drama|war", "war"), "multi-label"),
        (several("a,b", "b", "a", "a, c", "c"), "multi-label"),
        (several("['a', 'b']", "['a']"), "multi-label"),
        (several("[1, 0, 1]", "[0, 0, 1]"), "multi-label"),
        (several("O O B-PER", "O I-LOC O", "O O O"), "token-level"),
        (several("B-PER", "O", "I-PER"), "token-level"),
        (several("DET NOUN VERB", "NOUN VERB", "VERB ADV"), "token-level"),
        ([row / 7 for row in range(ROWS)], "regression"),
        (several(1.5, 2.0, 3.5), "regression"),
        (several("0.25", "0.5"), "regression"),
        ([1000 + row * 37 for row in range(ROWS)], "regression"),
        ([[0.1, float(row)] for row in range(ROWS)], "regression"),
        (several({"start": 1, "end": 2}), "boxes, spans or answers"),
    ],
)
@pytest.mark.parametrize("kind", ["frame", "jsonl"])
def test_labels_of_another_task_are_refused_by_name(tmp_path, labels, task, kind):
    made = table(labels)
    if kind == "jsonl":
        made.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
        # What is a list in JSON is a list in writing here.
        task = "another task" if isinstance(labels[0], list | dict) else task
    with pytest.raises(DataError, match=f"'label'.*{task}.*label_column"):
        load_data(made if kind == "frame" else str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    "labels",
    [
        several("World, politics", "Sport"),
        several("rock|pop", "jazz"),
        several("1", "2", "3", "4", "5"),
        several(1.0, 2.0),
        several(True, False),
        several("O", "X"),
        several("B", "I"),
        several("very good", "very bad"),
        several("very good", "bad"),
        [row % 60 for row in range(ROWS)],
        several("[neg]", "pos", "mixed"),
        several(-1, 1),
    ],
    ids=str,
)
def test_odd_classes_are_classes(labels):
    labels = labels if len(set(labels)) < 60 else [value % 20 for value in labels]
    assert load_data(table(labels)).num_classes == len(set(map(str, labels)))


def test_a_table_of_switches_or_boxes_is_named_where_the_label_is_missing():
    made = table(several("a")).drop(columns="label")
    switches = {"toxic": several(0, 1), "obscene": several(1, 0, 0)}
    with pytest.raises(
        DataError, match="no label column.*toxic, obscene hold 0 and 1.*multi-label"
    ):
        load_data(made.assign(**switches))
    boxes = [{"x": 1, "y": 2}] * ROWS
    with pytest.raises(DataError, match="no label column.*'objects'.*boxes, spans or answers"):
        load_data(datasets.Dataset.from_dict({"text": list(made["text"]), "objects": boxes}))


def test_masks_are_named():
    pictures = [Image.fromarray(np.full((4, 4), row, np.uint8)) for row in range(40)]
    made = datasets.Dataset.from_dict({"image": pictures, "annotation": pictures})
    with pytest.raises(DataError, match="segmentation masks"):
        load_data(made)
    with pytest.raises(DataError, match="segmentation masks"):
        load_data(made, image_column="image", label_column="annotation")


def test_where_nothing_can_be_read_it_is_said_what_the_table_may_be_for():
    boxes = [[{"x": 1, "y": 2}]] * 10
    with pytest.raises(DataError, match="no image column.*Column 'objects' holds a list"):
        load_data(datasets.Dataset.from_dict({"objects": boxes, "label": [0, 1] * 5}))
    with pytest.raises(DataError, match="pass image_column or text_column$"):
        load_data(datasets.Dataset.from_dict({"size": [1.5, 2.5] * 5, "label": [0, 1] * 5}))
