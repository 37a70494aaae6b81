"""What is read is what was pointed at: no path in a table, list or README leads elsewhere."""

import json
import os

import datasets
import pandas as pd
import pytest
from pictures import png, write_images

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data
from pclora_lab.data.reading import walking
from pclora_lab.data.reading.places import OUTSIDE, inside

ROWS = 40


@pytest.fixture
def there(tmp_path):
    """A folder of pictures with a private one beside it."""
    (tmp_path / "data" / "images").mkdir(parents=True)
    for row in range(ROWS):
        (tmp_path / "data" / "images" / f"{row}.png").write_bytes(png(row))
    (tmp_path / "private.png").write_bytes(png(99))
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "private.png")
    (tmp_path / "data" / "up").symlink_to(tmp_path)
    return tmp_path


ASTRAY = [
    "../private.png", "images/../../private.png", "link.png", "up/private.png", "{}/private.png",
    "file://{}/private.png", "http://127.0.0.1:9/a.png", "zip://a.png::{}/a.zip",
    "images/\0.png", "a" * 5000, "/etc/passwd",
]  # fmt: skip


def write_table(there, kind, odd):
    paths = [f"images/{row}.png" for row in range(ROWS)]
    paths[7] = odd.format(there)
    frame = pd.DataFrame({"image": paths, "label": ["cat", "dog"] * (ROWS // 2)})
    path = there / "data" / f"table.{kind}"
    if kind == "parquet":
        frame["image"] = [{"bytes": None, "path": one} for one in paths]
        frame.to_parquet(path)
    elif kind == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("odd", ASTRAY, ids=lambda text: text[:20].replace("\0", "0"))
def test_a_path_that_leads_out_of_the_folder_is_left_out_and_counted(there, kind, odd):
    path = write_table(there, kind, odd)
    with pytest.raises(DataError, match="1 with(out)? a picture"):
        load_data(path)
    data = load_data(path, max_left_out=0.5)
    assert data.account.rows.found == ROWS and data.account.rows.used == ROWS - 1
    assert data.train.examples[0].size == (14, 10)  # found from the table's own folder


def test_the_reason_says_that_it_is_outside(there):
    with pytest.raises(DataError, match="1 with a picture outside of the data's own folder"):
        load_data(write_table(there, "csv", "../private.png"))


def test_pictures_are_found_from_the_table_or_from_the_working_directory(there, monkeypatch):
    path = write_table(there, "csv", "data/images/7.png")
    monkeypatch.chdir(there)
    assert load_data(path).account.rows.used == ROWS
    assert load_data("data/table.csv").account.rows.used == ROWS
    assert inside("private.png", there / "data") is OUTSIDE


def test_metadata_and_a_readme_of_a_folder_name_nothing_outside(there):
    folder = there / "data" / "images"
    names = [f"{row}.png" for row in range(ROWS)]
    names[3], names[5] = "../../private.png", str(there / "private.png")
    rows = "".join(f"{name},{'ab'[n % 2]}\n" for n, name in enumerate(names))
    (folder / "metadata.csv").write_text("file_name,label\n" + rows)
    data = load_data(folder, max_left_out=0.2)
    assert data.account.rows.used == ROWS - 2
    write_images(there / "tree", {"train": 20})
    (there / "other.csv").write_text("text,label\n" + "a,b\nc,d\n" * 20)
    head = f"---\nconfigs:\n- config_name: default\n  data_files: {there}/other.csv\n---\n"
    (there / "tree" / "README.md").write_text(head)
    assert load_data(there / "tree").kind == "image"


@pytest.mark.parametrize("where", ["data_files", "splits"])
def test_a_saved_data_set_lists_its_own_files_only(tmp_path, where):
    table = datasets.Dataset.from_dict({"text": ["a"] * 40, "label": [0, 1] * 20})
    table.save_to_disk(tmp_path / "elsewhere")
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "saved")
    if where == "splits":
        (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["../elsewhere"]}')
    else:
        state = tmp_path / "saved" / "train" / "state.json"
        values = json.loads(state.read_text())
        values["_data_files"] = [{"filename": "../../elsewhere/data-00000-of-00001.arrow"}]
        state.write_text(json.dumps(values))
    with pytest.raises(DataError, match="which is outside it"):
        load_data(tmp_path / "saved")


PLACES = ("", " ", ".", "./", "..", "../..", "~", "~/", "/", "//", "/.", "home")


@pytest.mark.parametrize("name", PLACES)
def test_a_place_is_a_question(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "walk", lambda *_, **__: pytest.fail("walked"))
    with pytest.raises(DataError, match=r"name a data set, a file|which file or folder there"):
        load_data(str(tmp_path) if name == "home" else name)


@pytest.mark.parametrize("name", ["imagefolder", "csv", "parquet"])
def test_a_builder_of_another_library_is_no_data_set(name):
    with pytest.raises(DataError, match="no data set: name the file or the folder"):
        load_data(name)


def test_a_walk_says_where_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(walking, "_MOST_FILES", 30)
    write_images(tmp_path / "images", {"train": 20})
    with pytest.raises(DataError, match="holds more than 30 files and folders"):
        load_data(tmp_path / "images")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("images/3.png", "images/3.png"),
        ("./images/../images/3.png", "images/3.png"),
        ("images/99.png", None),
        ("images", None),
        ("../private.png", OUTSIDE),
        ("../gone.png", OUTSIDE),
        ("http://a/images/3.png", OUTSIDE),
        ("zip://a::images/3.png", OUTSIDE),
        ("a" * 5000, None),
        ("a\0b", None),
    ],
)
def test_a_path_is_a_file_of_the_folder_none_or_outside(there, monkeypatch, path, found):
    monkeypatch.chdir(there / "data" / "images")
    wanted = str((there / "data" / found).resolve()) if isinstance(found, str) else found
    for place in (there / "data", [there / "data"], (there / "data", there / "data" / "images")):
        assert inside(path, place) == wanted
    whole = str(there / "data" / path)
    if isinstance(found, str):
        assert inside(whole, there / "data") == wanted
    if "::" in path or "//" in path:
        assert inside(path, None) == path, "an address is believed where nothing is a table's own"
    else:
        assert inside(whole, None) == (whole if os.path.isfile(whole.replace("\0", "")) else None)


def test_a_file_of_any_of_several_folders_is_inside(there, monkeypatch):
    monkeypatch.chdir(there / "data")
    (there / "second").mkdir()
    (there / "second" / "a.png").write_bytes(b"x")
    both = [there / "data", there / "second"]
    assert inside("a.png", both) == str((there / "second" / "a.png").resolve())
    assert inside("a.png", both[:1]) is None
