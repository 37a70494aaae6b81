"""The rows that can be used, and why each of the others is not."""

import datasets
import numpy as np
import pytest
from pictures import png

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.columns import Columns
from pclora_lab.data.labels import Classes, LabelColumn
from pclora_lab.data.pictures import DecodedImages
from pclora_lab.data.rows import joined_splits, picture_column, raw_split, sample_texts
from pclora_lab.data.splits import Split

TWO = Classes(("ham", "spam"), {"ham": 0, "spam": 1}, False)


def read(
    values: dict, content: tuple[str, ...] = ("text",), *, kind="text", classes=TWO, place=None
):
    table = datasets.Dataset.from_dict(values)
    ledger = Ledger()
    ledger.place = place
    ledger.find_rows("train", len(table))
    labels = LabelColumn.of(table, "label", "some.csv")
    split = raw_split(table, Columns(kind, content, "label"), labels, classes, "train", ledger)
    return split, [str(part) for part in ledger.close({"train": len(split)}).rows.left_out]


def test_rows_that_have_all_are_used_as_they_are():
    split, left = read({"text": ["a", "b", "c"], "label": ["spam", "ham", "SPAM"]})
    assert split.examples == ["a", "b", "c"] and split.labels.tolist() == [1, 0, 1] and left == []


def test_each_row_is_left_out_for_one_reason_and_the_first_is_told():
    rows = {
        "text": ["a", None, " ", "d", "e", None, "g", "h", "i"],
        "label": ["ham", "ham", None, None, "eggs", "eggs", "spam", "", "jam"],
    }
    split, left = read(rows)
    assert split.examples == ["a", "g"] and split.labels.tolist() == [0, 1]
    assert left == [
        "3 without a text in column 'text' (row 1, column 'text' first)",
        "2 without a label (row 3, column 'label' first)",
        "2 with labels that train does not have: ['eggs', 'jam'] (row 4, column 'label' first)",
    ]


def test_of_many_unknown_labels_five_are_shown():
    labels = ["ham", *(f"x{n}" for n in range(7))]
    _, left = read({"text": list("abcdefgh"), "label": labels})
    assert left == [
        "7 with labels that train does not have: ['x0', 'x1', 'x2', 'x3', 'x4'] (row 1, column "
        "'label' first)"
    ]


def test_a_number_outside_the_named_classes_is_told_with_those_there_are():
    named = Classes(("no", "maybe", "yes"), {"0": 0, "1": 1, "2": 2}, True)
    split, left = read({"text": ["a", "b", "c"], "label": [2, 7, 0]}, classes=named)
    assert split.labels.tolist() == [2, 0]
    assert left == [
        "1 with labels outside the 3 classes (0 to 2), such as 7 (row 1, column 'label')"
    ]


def test_of_a_pair_both_have_to_be_there():
    rows = {
        "premise": ["a", None, "c", "d"],
        "hypothesis": ["x", "y", "", "z"],
        "label": ["ham", "ham", "spam", "spam"],
    }
    split, left = read(rows, ("premise", "hypothesis"))
    assert split.examples == [("a", "x"), ("d", "z")] and split.labels.tolist() == [0, 1]
    assert left == [
        "2 without a text in column 'premise' or 'hypothesis' (row 1, column 'premise' first)"
    ]


@pytest.mark.parametrize(
    ("values", "texts"), [([1, 2, None], ["1", "2"]), ([0.5, None, 2.0], ["0.5", "2.0"])]
)
def test_numbers_may_be_texts(values, texts):
    labels = ["ham" if value is not None else "spam" for value in values]
    assert read({"text": values, "label": labels})[0].examples == texts


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"bytes"])
def test_a_column_of_something_else_holds_no_texts(value):
    with pytest.raises(
        DataError,
        match=r"^column 'text' holds no texts but .*: pass another "
        r"text_column \(text, label\)$",
    ):
        read({"text": [value] * 2, "label": ["ham", "spam"]})


def test_repeated_texts_that_are_stored_once_are_texts():
    table = datasets.Dataset.from_dict({"text": ["a", "b"] * 2, "label": ["ham", "spam"] * 2})
    stored = datasets.Dataset(table.data.table.set_column(
        0, "text", table.data.table["text"].dictionary_encode()))  # fmt: skip
    labels = LabelColumn.of(stored, "label", "some")
    split = raw_split(stored, Columns("text", ("text",), "label"), labels, TWO, "train", Ledger())
    assert split.examples == ["a", "b", "a", "b"]


def picture(number: int, path: str | None = None) -> dict:
    return {"bytes": png(number, size=(4, 4)), "path": path}


def test_pictures_without_any_are_left_out_and_those_with_bytes_or_a_file_are_not(tmp_path):
    (tmp_path / "one.png").write_bytes(png(3, size=(4, 4)))
    there = {"bytes": None, "path": str(tmp_path / "one.png")}
    images = [picture(1), {"bytes": None, "path": None}, there, picture(2, "gone.png")]
    rows = {"image": images, "label": ["ham", "ham", "spam", "spam"]}
    split, left = read(rows, ("image",), kind="image")
    assert isinstance(split.examples, DecodedImages) and split.labels.tolist() == [0, 1, 1]
    assert [split.examples.content(i) for i in range(3)] == [
        png(number, size=(4, 4)) for number in (1, 3, 2)
    ]
    assert left == ["1 without a picture in column 'image' (row 1, column 'image')"]


def test_a_picture_outside_of_the_folder_is_not_read_and_one_inside_is_found(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for path, number in ((own / "in.png", 1), (tmp_path / "out.png", 2)):
        path.write_bytes(png(number, size=(4, 4)))
    images = [
        {"bytes": None, "path": str(tmp_path / "out.png")},
        {"bytes": None, "path": "in.png"},
        picture(5),
        {"bytes": None, "path": "../out.png"},
    ]
    rows = {"image": images, "label": ["ham", "spam", "ham", "ham"]}
    split, left = read(rows, ("image",), kind="image", place=own)
    assert split.labels.tolist() == [1, 0] and len(split) == 2
    assert [split.examples.content(i) for i in (0, 1)] == [png(n, size=(4, 4)) for n in (1, 5)]
    assert left == [
        "2 with a picture outside of the data's own folder, which is not read (row 0, column "
        "'image' first)"
    ]


def test_a_column_of_texts_or_numbers_holds_no_pictures():
    for values in ([1, 2], [0.5, 1.5]):
        with pytest.raises(
            DataError,
            match=r"^column 'image' holds no images: pass another "
            r"image_column \(image, label\)",
        ):
            read({"image": values, "label": ["ham", "spam"]}, ("image",), kind="image")


def test_a_sample_has_the_first_texts_that_have_a_label():
    rows = {"text": [f"t{n}" for n in range(150)], "label": [n % 2 for n in range(150)]}
    found = sample_texts(datasets.Dataset.from_dict(rows), Columns("text", ("text",), "label"))
    assert found == [(f"t{n}", str(n % 2)) for n in range(100)]
    rows = {"text": ["x" * 6000, None, "b"], "label": ["ham", "spam", None]}
    found = sample_texts(datasets.Dataset.from_dict(rows), Columns("text", ("text", "b"), "label"))
    assert found == [("x" * 5000, "ham"), ("None", "spam")]


def test_parts_of_a_split_stand_one_behind_the_other():
    one, other = Split(["a", "b"], np.array([0, 1])), Split(["c"], np.array([1]))
    joined = joined_splits([one, other])
    assert joined.examples == ["a", "b", "c"] and joined.labels.tolist() == [0, 1, 1]
    assert joined_splits([one]) is one


def pictures(*numbers: int, column: str = "image", rows: list | None = None) -> Split:
    features = datasets.Features({column: datasets.Image(), "more": datasets.Value("int64")})
    values = {column: [picture(n) for n in numbers], "more": list(numbers)}
    made = datasets.Dataset.from_dict(values, features)
    chosen = DecodedImages(made, column, None if rows is None else np.array(rows))
    return Split(chosen, np.arange(len(chosen)))


def test_pictures_that_were_chosen_are_joined_in_their_order():
    joined = joined_splits([pictures(1, 2, 3, rows=[2, 0]), pictures(4)])
    assert [joined.examples.content(i) for i in range(3)] == [
        png(number, size=(4, 4)) for number in (3, 1, 4)
    ]
    assert joined.labels.tolist() == [0, 1, 0] and joined.examples.table.column_names == ["image"]


def test_pictures_in_columns_of_different_names_do_not_fit():
    with pytest.raises(DataError, match="^the parts of one split do not fit each other: "):
        joined_splits([pictures(1), pictures(2, column="photo")])


def test_only_the_column_that_is_asked_for_is_decoded():
    stored = {"image": [{"bytes": png(0), "path": None}],
              "mask": [{"bytes": b"no picture", "path": None}]}  # fmt: skip
    features = datasets.Features({name: datasets.Image() for name in stored})
    table = datasets.Dataset.from_dict(stored, features=features)
    pictures, *_ = picture_column(table, "image", None)
    assert pictures[0].mode == "RGB"
    with pytest.raises(DataError, match="row 0, column 'mask'"):
        picture_column(table, "mask", None)[0][0]
