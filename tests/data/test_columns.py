"""Tables of texts and of images: what is read, what is left out and said, what is refused."""

import io
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from pictures import ROWS, png
from PIL import Image
from records import assert_fixed

from pclora_lab.data.account import DataError
from pclora_lab.data.columns import PAIR_NAMES, Columns, find_columns
from pclora_lab.data.images import ImageBatches, Preprocessing
from pclora_lab.data.loading import load_data
from pclora_lab.data.splits import LabeledData

CLASSES = ("ham", "spam")
NUMBERS = [row % 2 for row in range(ROWS)]
JSON = {"orient": "records", "force_ascii": False}
WRITERS = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    ".jsonl": lambda table, path: table.to_json(path, **JSON, lines=True),
    ".json": lambda table, path: table.to_json(path, **JSON),
    ".parquet": lambda table, path: table.to_parquet(path),
}
every_format = pytest.mark.parametrize("suffix", WRITERS)


def table(prefix: str = "text", **columns) -> pd.DataFrame:
    """40 texts that differ, ham and spam in turn; each column may be changed, others added."""
    texts = [f"{prefix} {row}" for row in range(ROWS)]
    return pd.DataFrame({"text": texts, "label": [CLASSES[i] for i in NUMBERS]} | columns)


def save(made: pd.DataFrame, path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    WRITERS[path.suffix](made, path)
    return str(path)


def pairs(data: LabeledData) -> dict[str, str]:
    """Every text and the name of its class."""
    splits = (data.train, data.validation, data.test)
    rows = [row for s in splits for row in zip(s.examples, s.labels, strict=True)]
    return {text: data.class_names[label] for text, label in rows}


@every_format
def test_a_file_gives_texts_labels_and_class_names(tmp_path, suffix):
    data = load_data(save(table(), tmp_path / f"mail{suffix}"))
    assert (data.kind, data.class_names) == ("text", CLASSES)
    assert pairs(data) == dict(table().to_numpy())


@every_format
def test_a_folder_of_files_gives_its_splits(tmp_path, suffix):
    names = ("train", "validation", "test")
    for name in names:
        save(table(name), tmp_path / "mail" / f"{name}{suffix}")
    data = load_data(str(tmp_path / "mail"))
    read = {name: getattr(data, name).examples for name in names}
    assert read == {name: list(table(name)["text"]) for name in names} and data.notes == ()


@every_format
def test_odd_words_and_characters_survive_as_texts_and_as_classes(tmp_path, suffix):
    made = table(label=[("NA", "None")[i] for i in NUMBERS])
    made.loc[:4, "text"] = ["NA", "None", "nan", 'a "b", c\td\ne', "é \u2028 \x85 ☃"]
    data = load_data(save(made, tmp_path / f"mail{suffix}"))
    assert data.class_names == ("NA", "None")
    assert pairs(data) == dict(made.to_numpy())


@pytest.mark.parametrize("beside", ["info.json", "LICENSE", "mail.csv~", ".hidden/mail.csv"])
def test_other_files_beside_a_table_do_not_change_how_it_is_read(tmp_path, beside):
    made = table(label=[("NA", "None")[i] for i in NUMBERS])
    folder = Path(save(made, tmp_path / "mail" / "mail.csv")).parent
    (folder / beside).parent.mkdir(exist_ok=True)
    (folder / beside).write_text("text,label\nby hand,NA\n")
    assert pairs(load_data(str(folder))) == dict(made.to_numpy())


@pytest.mark.parametrize("columns", ["sentence sentiment", "Review Category", "words class"])
def test_columns_are_guessed_by_name_and_else_the_longest_texts_are_taken(tmp_path, columns):
    other = "n" if "words" in columns else "a longer text in another column"
    made = table().set_axis(columns.split(), axis=1).assign(other=[other] * ROWS)
    assert pairs(load_data(save(made, tmp_path / "a.csv"))) == dict(table().to_numpy())


def test_a_given_column_wins_over_the_usual_names(tmp_path):
    made = table(title=[f"title {i}" for i in range(ROWS)], kind=["b", "a"] * (ROWS // 2))
    path = save(made, tmp_path / "a.csv")
    data = load_data(path, text_column="title", label_column="kind")
    assert pairs(data) == dict(made[["title", "kind"]].to_numpy())


def test_texts_that_are_asked_for_win_over_pictures_beside_them(tmp_path):
    made = table(image=[{"bytes": png(row), "path": None} for row in range(ROWS)])
    path = save(made, tmp_path / "both.parquet")
    assert load_data(path).kind == "image"
    data = load_data(path, text_column="text")
    assert data.kind == "text" and pairs(data) == dict(made[["text", "label"]].to_numpy())


@pytest.mark.parametrize("kind", ["label", "text", "image"])
def test_a_missing_column_is_named_with_those_that_are_there(tmp_path, kind):
    with pytest.raises(ValueError, match="a.csv' has no column 'nope': it has text, label"):
        load_data(save(table(), tmp_path / "a.csv"), **{f"{kind}_column": "nope"})


def test_an_image_column_and_a_text_column_together_are_refused(tmp_path):
    columns = {"image_column": "label", "text_column": "text"}
    with pytest.raises(ValueError, match="image_column or text_column, not both"):
        load_data(save(table(), tmp_path / "a.csv"), **columns)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("column", ["text", "label"])
def test_numbers_among_words_are_words(tmp_path, column, suffix):
    made = table().astype(object)
    made.loc[1::2, column] = range(1, ROWS, 2) if column == "text" else 1
    data = load_data(save(made, tmp_path / f"a{suffix}"))
    assert pairs(data) == {str(text): str(label) for text, label in made.to_numpy()}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_numbers_alone_may_be_texts_and_classes(tmp_path, suffix):
    texts = range(ROWS) if suffix == ".parquet" else [f"{row:03}" for row in range(ROWS)]
    made = table(text=texts, label=[None, *map(float, NUMBERS[1:])])
    path = save(made, tmp_path / f"a{suffix}")
    data = load_data(path, text_column="text", max_left_out=0.03)
    assert pairs(data) == {str(text): str(row % 2) for row, text in enumerate(texts) if row}


@pytest.mark.parametrize(
    ("where", "column", "odd"),
    [("late", "label", "spam"), ("late", "label", ""), ("late", "text", "word")]
    + [("test", "label", ""), ("test", "text", "word")],
)
def test_a_word_or_a_blank_among_numbers_may_stand_anywhere(tmp_path, where, column, odd):
    texts = [row if column == "text" else f"text {row}" for row in range(12_000)]
    made = pd.DataFrame({"text": texts, "label": NUMBERS * 300}, dtype=object)
    made.loc[11_000, column] = odd
    name = save(made if where == "late" else made[:10_000], tmp_path / "a" / "train.csv")
    if where == "test":
        save(made[10_000:], tmp_path / "a" / "test.csv")
    data = load_data(str(Path(name).parent), text_column="text")
    assert len(pairs(data)) == 12_000 - (odd == "")
    assert data.class_names == (("0", "1", "spam") if odd == "spam" else ("0", "1"))


def test_rows_with_more_fields_than_the_heading_are_refused(tmp_path):
    lines = [f"text {i},{CLASSES[i % 2]},{i % 3}" for i in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *lines]))
    message = "40 with more fields than .*heading.*quotes.*line 2 first"
    with pytest.raises(ValueError, match=message):
        load_data(str(tmp_path / "a.csv"))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_without_a_text_or_a_label_are_left_out_and_said(tmp_path, suffix):
    made = table()
    made.loc[[3, 4], "text"] = [None, "  "]
    made.loc[5, "label"] = None
    path = save(made, tmp_path / f"a{suffix}")
    with pytest.raises(ValueError, match="3 of 40 rows.*2 without a text.*max_left_out=0.08"):
        load_data(path)
    data = load_data(path, max_left_out=0.08)
    assert pairs(data) == dict(table().drop([3, 4, 5]).to_numpy())
    assert str(data.account.rows) == (
        "40 found, 37 used, 3 left out: 2 without a text in column 'text' (row 3, column 'text' "
        "first); 1 without a label (row 5, column 'label')"
    )


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("column", ["text", "label"])
def test_a_table_that_is_mostly_empty_is_refused(tmp_path, column, suffix):
    made = table()
    made.loc[:20, column] = None
    with pytest.raises(ValueError, match=f"21 of 40 rows.*21 without a {column}.*text, label"):
        load_data(save(made, tmp_path / f"a{suffix}"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": ["ham"] * ROWS}, "has 1 class in column 'label'"),
        ({"label": [None] * ROWS}, "has 0 class"),
        ({"label": [i / 7 for i in NUMBERS]}, "'label'.*holds fractions such as 0.1428"),
        ({"label": range(100, 140)}, "'label'.*40 different values in 40 .*hardly classes"),
        ({"label": [f"id{i}" for i in range(ROWS)]}, "40 rows.*another label_column"),
    ],
    ids="one none fractions numbers ids".split(),
)
def test_a_column_that_holds_no_classes_is_refused(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        load_data(save(table(**columns), tmp_path / "a.csv"))


@pytest.mark.parametrize(("suffix", "first", "count"), [(".csv", 6, 41), (".jsonl", 5, 40)])
def test_broken_characters_are_counted_and_the_first_is_named(tmp_path, suffix, first, count):
    made = table(text=[f"caf{'eé'[i % 10 == 4]} {i}" for i in range(ROWS)])
    path = Path(save(made, tmp_path / f"a{suffix}"))
    path.write_text(path.read_text("utf8"), "latin1")
    with pytest.raises(ValueError, match=f"a{suffix} is not UTF-8: 4 of {count} .*line {first} "):
        load_data(str(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv.*the file is empty"),
        ("a.csv", "text,label\n", "a.csv"),
        ("a.csv", None, "a.csv': there is no such folder or file"),
        ("a.parquet", "PAR1", "a.parquet"),
        ("a.jsonl", '{"text": "hello", "lab', "a.jsonl"),
        ("a.xlsx", "PK", "a.xlsx.*file type: give .csv"),
        ("folder/a.csv", "", "folder.*is empty"),
    ],
)
def test_what_holds_no_table_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        load_data(str(tmp_path / name.split("/")[0]))


def picture(kind: str) -> bytes:
    """Random pixels; ``kind`` is mode, format and size."""
    mode, form, *size = kind.split()
    image = Image.open(io.BytesIO(png(0, size=tuple(map(int, size or (14, 10))))))
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    file = io.BytesIO()
    (deep if mode == "I;16" else image.convert(mode)).save(file, form)
    return file.getvalue()


def read_picture(path: Path, encoded: bytes, channels: int = 3) -> torch.Tensor:
    """Row 5 of a table as a model takes it, black to white as −1 to 1."""
    images = [{"bytes": encoded if row == 5 else png(row), "path": None} for row in range(ROWS)]
    made = pd.DataFrame({"img": images, "label": NUMBERS})
    train = load_data(save(made, path)).train
    gray = (0.5,) * channels
    pixels = ImageBatches(train, Preprocessing((channels, 8, 8), gray, gray, "bicubic", 0.9))
    return pixels.inputs(torch.tensor(np.flatnonzero(train.examples.rows == 5)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "kind", ["L png", "CMYK jpeg", "RGBA png", "P png", "I;16 png", "RGB png 1 1"]
)
def test_pictures_of_every_kind_become_finite_pixels(tmp_path, kind, channels):
    pixels = read_picture(tmp_path / "a.parquet", picture(kind), channels)
    assert pixels.shape == (1, channels, 8, 8) and pixels.isfinite().all()
    assert pixels.mean().abs() < 0.5, "neither all black nor all white"


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_a_truncated_picture_is_named_by_its_row(tmp_path, form):
    with pytest.raises(ValueError, match="row 5, column 'img'"):
        read_picture(tmp_path / "a.parquet", picture(f"RGB {form}")[:-200])


def test_a_table_without_a_heading_is_told_so(tmp_path):
    table().to_csv(tmp_path / "a.csv", index=False, header=["a very good film it was", "1"])
    with pytest.raises(ValueError, match="no label column.*first line looks like a row: a heading"):
        load_data(str(tmp_path / "a.csv"))


def test_spellings_of_one_class_are_joined_and_said(tmp_path):
    made = table(label=["Positive", "negative", "positive ", "Negative"] * (ROWS // 4))
    data = load_data(save(made, tmp_path / "a.csv"))
    assert data.class_names == ("Negative", "Positive")
    assert "10 'positive' counted as 'Positive'" in data.notes
    assert data.account.rows.used == ROWS


def test_a_picture_that_is_too_large_to_be_meant_is_named(tmp_path, monkeypatch):
    large = picture("RGB png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match="row 5, column 'img'.*decompression bomb"):
        read_picture(tmp_path / "a.parquet", large)


IMAGE, CLASS = datasets.Image(), datasets.ClassLabel(names=["a", "b"])
WORDS, SHORT = ["a long text", "another one"], ["x", "y"]


def found_in(columns: dict, given: dict | None = None, pair: object = None) -> Columns:
    """What is found in a table of two rows; a column is given by its values or by its type."""
    rows = {n: value if isinstance(value, list) else [None, None] for n, value in columns.items()}
    types = {n: value for n, value in columns.items() if not isinstance(value, list)}
    made = datasets.Dataset.from_dict(rows)
    for name, feature in types.items():
        made = made.cast_column(name, feature)
    return find_columns(made, given or {}, "some.csv", pair)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"text": WORDS, "label": SHORT}, ("text", ("text",), "label")),
        ({" Text ": WORDS, "LABEL": SHORT}, ("text", (" Text ",), "LABEL")),
        ({"more": WORDS, "review": SHORT, "y": SHORT}, ("text", ("review",), "y")),
        ({"title": WORDS, "text": SHORT, "y": SHORT}, ("text", ("text",), "y")),
        ({"a": SHORT, "b": WORDS, "y": SHORT}, ("text", ("b",), "y")),
        ({"a": [None, None], "b": ["", None], "c": SHORT, "y": SHORT}, ("text", ("c",), "y")),
        ({"Unnamed: 0": WORDS, "b": SHORT, "y": SHORT}, ("text", ("b",), "y")),
        ({"__index_level_0__": WORDS, "b": SHORT, "y": SHORT}, ("text", ("b",), "y")),
        ({"sentiment": WORDS, "class": SHORT, "b": SHORT}, ("text", ("sentiment",), "class")),
        ({"text": WORDS, "label": SHORT, "kind": CLASS}, ("text", ("text",), "kind")),
        ({"text": WORDS, "photo": IMAGE, "label": SHORT}, ("image", ("photo",), "label")),
        ({"image": SHORT, "photo": IMAGE, "label": SHORT}, ("image", ("photo",), "label")),
        ({"img": SHORT, "Image": SHORT, "label": SHORT}, ("image", ("Image",), "label")),
        ({"premise": WORDS, "hypothesis": WORDS, "y": SHORT},
         ("text", ("premise", "hypothesis"), "y")),
        ({"Sentence2": SHORT, "Sentence1": SHORT, "text": WORDS, "y": SHORT},
         ("text", ("Sentence1", "Sentence2"), "y")),
        ({"question": WORDS, "sentence": [1, 2], "y": SHORT}, ("text", ("question",), "y")),
    ],
)  # fmt: skip
def test_what_a_table_holds_is_guessed_by_types_and_names(columns, found):
    assert found_in(columns) == Columns(*found)
    assert found_in(columns).used == [*found[1], found[2]]


@pytest.mark.parametrize("names", PAIR_NAMES, ids="+".join)
def test_pairs_are_known_by_their_names(names):
    columns = {names[1]: WORDS, "other": WORDS, names[0].upper(): SHORT, "label": SHORT}
    assert found_in(columns).content == (names[0].upper(), names[1])


ALL = {"text": WORDS, "other": WORDS, "photo": IMAGE, "label": SHORT, "kind": SHORT}


@pytest.mark.parametrize(
    ("given", "pair", "found"),
    [
        ({"label": "kind"}, None, ("image", ("photo",), "kind")),
        ({"text": "other"}, None, ("text", ("other",), "label")),
        ({"image": "other"}, None, ("image", ("other",), "label")),
        ({}, ("other", "text"), ("text", ("other", "text"), "label")),
        ({}, ["text", "kind"], ("text", ("text", "kind"), "label")),
        ({"image": None, "text": None, "label": None}, None, ("image", ("photo",), "label")),
    ],
)
def test_what_is_given_is_taken(given, pair, found):
    assert found_in(ALL, given, pair) == Columns(*found)


BOTH = "^text_columns is .*: it must be two different names, such as"


@pytest.mark.parametrize(
    ("given", "pair", "message"),
    [
        ({"image": "photo", "text": "text"}, None, "^give image_column or text_column, not both"),
        ({"image": "photo"}, ("text", "other"), "^give image_column or text_column, not both"),
        ({"text": "text"}, ("text", "other"), "^give text_column or text_columns, not both"),
        ({}, ("text", "text"), BOTH),
        ({}, ("text",), BOTH),
        ({}, ("text", "other", "kind"), BOTH),
        ({}, "ab", BOTH),
        ({"label": "none"}, None, "^data 'some.csv' has no column 'none': it has text, other, ph"),
        ({}, ("text", "none"), "^data 'some.csv' has no column 'none'"),
        ({"text": "label"}, None, "^column 'label' of 'some.csv' can't be both label and text: "),
        ({"image": "label"}, None, "'label' of 'some.csv' can't be both label and image: its col"),
        ({}, ("text", "label"), "'label' .* both label and text.*pass another label_column$"),
    ],
)
def test_what_can_not_be_meant_is_refused(given, pair, message):
    with pytest.raises(DataError, match=message):
        found_in(ALL, given, pair)


HEADING = "Its first line looks like a row: a heading must name the columns"


@pytest.mark.parametrize(
    ("columns", "has_heading"),
    [
        ({"text": WORDS, "0": SHORT}, False),
        ({"text": WORDS, " -1.5 ": SHORT}, False),
        ({"this is a whole sentence": WORDS, "b": SHORT}, False),
        ({"these are four words": WORDS, "b": SHORT}, True),
        ({"text": WORDS, "b1": SHORT}, True),
        ({"text": WORDS, "1b": SHORT}, True),
    ],
)
def test_a_table_without_labels_is_told_so_and_whether_it_seems_to_have_no_heading(
    columns, has_heading
):
    with pytest.raises(DataError, match="^no label column found in 'some.csv': its col") as error:
        found_in(columns)
    assert (HEADING in str(error.value)) is not has_heading
    assert "pass label_column" in str(error.value)


def test_a_table_of_another_task_is_told_so():
    with pytest.raises(DataError, match="no label column .*Column 'tags' holds a list in each row"):
        found_in({"text": WORDS, "tags": [["a"], ["b"]]})
    switches = {"text": WORDS, "good": [0, 1], "bad": [1, 0]}
    with pytest.raises(DataError, match="pass label_column. Columns good, bad hold 0 and 1 each"):
        found_in(switches)
    with pytest.raises(
        DataError,
        match="^no image column found in 'some.csv' and none of texts: "
        "its columns are a, label; pass image_column or text_column"
        "$",
    ):
        found_in({"a": [1, 2], "label": SHORT})
    with pytest.raises(DataError, match="or text_column. Column 'mask' holds a list in each row"):
        found_in({"mask": [["a"], ["b"]], "label": [1, 2]})


def test_of_the_longest_texts_the_first_hundred_rows_decide():
    rows = {
        "a": ["xx"] * 99 + ["x" * 200, ""],
        "b": ["xxx"] * 100 + ["x" * 999],
        "label": ["u", "v"] * 50 + ["u"],
    }
    assert found_in(rows).content == ("a",)


def test_what_was_found_can_not_be_changed():
    assert_fixed(Columns("text", ("text",), "label"))
