"""Tables in memory, folders of save_to_disk, and paths of every kind."""

import time

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import png
from PIL import Image

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.loading import load_data
from pclora_lab.data.sources import local_path, read_tables, refuse_vague

ROWS = 120


def frame(prefix: str = "text", **columns) -> pd.DataFrame:
    texts = [f"{prefix} {row}" for row in range(ROWS)]
    return pd.DataFrame(
        {"text": texts, "label": [("ham", "spam")[i % 2] for i in range(ROWS)]} | columns
    )


def as_dataset(made: pd.DataFrame) -> datasets.Dataset:
    return datasets.Dataset.from_pandas(made)


@pytest.mark.parametrize("make", [lambda f: f, as_dataset, pa.Table.from_pandas], ids="fdt")
def test_a_table_in_memory_is_read_as_a_file_is(make):
    data = load_data(make(frame()))
    assert data.class_names == ("ham", "spam") and data.account.rows.used == ROWS
    assert data.account.files.found == 0 and data.name in ("DataFrame", "Dataset", "Table")


@pytest.mark.parametrize("make", [lambda f: f, as_dataset, pa.Table.from_pandas], ids="fdt")
def test_several_tables_are_taken_by_split(make):
    splits = {name: make(frame(name)) for name in ("train", "validation", "test")}
    data = load_data(splits)
    assert {text.split()[0] for text in data.validation.examples} == {"validation"}
    assert data.account.rows.used == 3 * ROWS
    assert load_data(datasets.DatasetDict({"train": as_dataset(frame())})).account.rows.used == ROWS


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.set_index(pd.Index(np.arange(ROWS) * 7 % 101, name=None)),
        lambda f: f.set_index(
            pd.Index([f"a much longer text than the others {i}" for i in range(ROWS)])
        ),
        lambda f: f.astype({"label": "category", "text": "string"}),
        lambda f: f.assign(label=f["label"].astype(object).where(f["label"] == "ham", 1)),
        lambda f: f.assign(when=pd.Timestamp("2020-01-01"), period=pd.Period("2020-01")),
        lambda f: f.rename(columns={"text": "Text ", "label": "LABEL"}).assign(**{"3": 1}),
        lambda f: f.assign(mixed=[object() if i % 2 else 1.5 for i in range(ROWS)]),
        lambda f: f.iloc[::-1],
    ],
    ids="index words category mixed times names objects reversed".split(),
)
def test_odd_frames_are_read(change):
    data = load_data(change(frame()))
    texts = {text for s in (data.train, data.validation, data.test) for text in s.examples}
    assert texts == set(frame()["text"]) and data.num_classes == 2


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_an_index_that_was_saved_is_no_text(tmp_path, suffix):
    made = frame().rename(columns={"text": "words"})
    made.index = [f"a much longer text than the words have {i}" for i in range(ROWS)]
    getattr(made, f"to_{suffix}")(tmp_path / f"a.{suffix}")
    data = load_data(str(tmp_path / f"a.{suffix}"))
    assert data.content == ("words",) and data.account.columns.found == 3


@pytest.mark.parametrize(
    "text", ['{"text": ["a", "b"], "label": [0, 1]}', '{"data": [{"text": "a"}]}']
)
def test_json_that_is_turned_round_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match="one object for each example"):
        load_data(str(tmp_path / "a.json"))


def test_pictures_in_memory_are_read():
    images = [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(60)]
    labels = [i % 2 for i in range(60)]
    for table in (
        pd.DataFrame({"image": images, "label": labels}),
        pd.DataFrame({"image": [np.asarray(image) for image in images], "label": labels}),
        datasets.Dataset.from_dict({"image": images, "label": labels}),
    ):
        data = load_data(table)
        assert data.kind == "image" and data.train.examples[0].size == (4, 4)


def test_pictures_that_are_not_there_are_counted(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    paths = [tmp_path / ("gone.png" if row == 7 else "a.png") for row in range(ROWS)]
    made = pd.DataFrame({"image": paths, "label": frame()["label"]})
    data = load_data(made)
    assert data.account.rows.used == ROWS - 1 and "row 7, column 'image'" in str(data.account)


def test_a_table_of_thousands_of_columns_is_no_trouble():
    extra = pd.DataFrame(np.ones((ROWS, 2000)), columns=[f"x{i}" for i in range(2000)])
    began = time.perf_counter()
    assert load_data(pd.concat([frame(), extra], axis=1)).account.columns.found == 2002
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("value", ["1", "a word"])
def test_thousands_of_columns_without_a_label_are_refused_at_once(tmp_path, value):
    path = tmp_path / "wide.csv"
    heads = ",".join(f"c{n}" for n in range(3000))
    path.write_text("\n".join([heads, *20 * [",".join(3000 * [value])]]))
    began = time.process_time()
    with pytest.raises(DataError, match="no label column.*c10, c11 and 2,988 more") as error:
        load_data(str(path))
    assert time.process_time() - began < 5 and len(str(error.value)) < 1000


def test_a_shuffled_and_formatted_dataset_keeps_its_pairs():
    made = as_dataset(frame()).shuffle(seed=3).select(range(100)).with_format("numpy")
    data = load_data(made)
    label = dict(frame().to_numpy())
    for split in (data.train, data.validation, data.test):
        for text, number in zip(split.examples, split.labels, strict=True):
            assert data.class_names[number] == label[text]
    assert data.account.rows.found == 100 and made.format["type"] == "numpy"


@pytest.mark.parametrize("place", ["saved", "saved [v2] ü", "a*b"])
def test_folders_of_save_to_disk_are_read(tmp_path, place):
    as_dataset(frame()).save_to_disk(tmp_path / place)
    assert load_data(str(tmp_path / place)).account.rows.used == ROWS
    splits = {name: as_dataset(frame(name)) for name in ("train", "test")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "both")
    assert {text.split()[0] for text in load_data(tmp_path / "both").test.examples} == {"test"}


def test_a_damaged_folder_of_save_to_disk_is_named(tmp_path):
    as_dataset(frame()).save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"junk")
    with pytest.raises(DataError, match="written by save_to_disk, but can't be read"):
        load_data(tmp_path / "saved")


def test_a_flipped_bit_in_a_folder_of_save_to_disk_ends_no_process(tmp_path):
    as_dataset(frame()).save_to_disk(tmp_path / "saved")
    file = next((tmp_path / "saved").glob("*.arrow"))
    whole = file.read_bytes()
    refused = 0
    for place in range(len(whole) // 3, len(whole), len(whole) // 40):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        for read in (str, datasets.load_from_disk):  # by its name, and what somebody has loaded
            try:  # one that makes other, sound data can't be known
                load_data(read(str(tmp_path / "saved")))
            except DataError as error:
                assert "can't be read" in str(error)
                refused += 1
            except (pa.ArrowException, OSError):  # of whoever loads it
                assert read is not str
    assert refused > 10


def test_letters_of_a_parquet_file_that_are_none_are_named(tmp_path):
    texts = pa.array([b"abc\xff"] * 60).view(pa.string())
    pq.write_table(pa.table({"text": texts, "label": [0, 1] * 30}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet can't be read as parquet: Column 0.*UTF8"):
        load_data(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "type int can't be read"),
        (None, "type NoneType"),
        (["text"], "type list.*DataFrame"),
        ({}, "no tables were given"),
        ({"train": 3}, "type int"),
        (pd.DataFrame(), "has no rows"),
        (pd.DataFrame({"text": [], "label": []}), "has no rows"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "two columns 'text'"),
        (datasets.Dataset.from_dict({"text": ["a"]}).to_iterable_dataset(), "from_list"),
        ({"test": frame(), "validation": frame("other")}, "none to train on"),
    ],
    ids=str,
)
def test_what_is_no_table_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        load_data(data)


@pytest.mark.parametrize("name", ["a.csv", "ä ö.csv", "a[v2].csv", "a*.csv", "A.CSV", "a b;c.csv"])
def test_any_name_of_a_file_will_do(tmp_path, name, monkeypatch):
    frame().to_csv(tmp_path / name, index=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / name)
    for path in (str(tmp_path / name), tmp_path / name, f"~/{name}", f"./{name}"):
        assert load_data(path).account.rows.used == ROWS
    frame().to_parquet(tmp_path / "a[1].parquet")
    assert load_data("~/a[1].parquet").account.rows.used == ROWS


@pytest.mark.parametrize(
    "name",
    ["~nobody-of-that-name/x", "a\0b", "x" * 300, "/" + "y/" * 3000, "", " ", "nowhere/a.CSV"],
)
def test_names_that_are_nothing_are_said_to_be(name, tmp_path, monkeypatch):
    frame().to_csv(tmp_path / "here.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises((DataError, ConnectionError)):
        load_data(name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", b"picture,label\n0.png,a\n"),
        ("a.parquet", b"no parquet"),
        ("a.json", b"{ no table"),
        (None, b""),
    ],
)
def test_an_error_names_the_data_once(tmp_path, name, content):
    folder = tmp_path / "things"
    folder.mkdir()
    if name is not None:
        (folder / name).write_bytes(content)
        (folder / "0.png").write_bytes(png(0))
    with pytest.raises(DataError) as error:
        load_data(str(folder if name != "a.parquet" else folder / name))
    assert str(error.value).count(f"data '{folder}") == 1


def test_a_folder_of_other_files_says_what_it_holds(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"film")
    (tmp_path / "README").write_bytes(b"about")
    with pytest.raises(DataError, match=r"no images and no text files, but \.mp4, README"):
        load_data(str(tmp_path))


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ("", "data is empty: name a data set"),
        ("  ", "data is empty"),
        (".", "is no data set but a place"),
        ("..", "is no data set but a place"),
        ("./", "is no data set but a place"),
        ("~", "is no data set but a place"),
        ("/", "is no data set but a place"),
    ],
)
def test_a_place_that_is_nobodys_data_is_asked_about(found, problem):
    with pytest.raises(DataError, match=problem):
        refuse_vague(found)


def test_a_home_is_a_place_and_what_is_in_it_is_data(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    for vague in (str(tmp_path), f"{tmp_path}/", "~/", str(tmp_path / "link")):
        with pytest.raises(DataError, match="is no data set but a place"):
            refuse_vague(vague)
    for fine in (str(tmp_path / "pictures"), "~/pictures", "digits", "owner/name"):
        refuse_vague(fine)
    assert local_path("~/pictures") == tmp_path / "pictures"
    for none in ("", " ", "a\0b", "a" * 5000, "~nobody-of-that-name/x"):
        assert local_path(none) is None


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ([1, 2], r"data of type list can't be read: .* for example pandas.DataFrame\(data\)"),
        (type("LazyFrame", (), {})(), r"type LazyFrame .* for example collect\(\)"),
        (type("IterableDataset", (), {})(), r"for example Dataset.from_list\(list\(data\)\)"),
        ({}, "no tables were given"),
    ],
)
def test_what_is_no_table_says_how_it_becomes_one(data, hint):
    with pytest.raises(DataError, match=hint):
        read_tables(data, Ledger())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("./nothing", "there is no such folder or file"),
        ("a/b/c", "there is no such folder or file"),
        ("~/nothing", "there is no such folder or file"),
        ("nothing.csv", "there is no such file"),
        ("nothing.PARQUET", "there is no such file"),
        ("csv", "is a kind of file for the datasets library, no data set"),
        ("imagefolder", "is a kind of file for the datasets library, no data set"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_it_seems_to_be(tmp_path, monkeypatch, name, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=reason):
        read_tables(name, Ledger())
