"""A table beside pictures: what it names and what it forgets is counted, and the first is named."""

import pytest
from pictures import png

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.loading import load_data
from pclora_lab.data.reading.metadata import has_metadata, read_described_pictures
from pclora_lab.data.reading.walking import find_files

ROWS = 40


@pytest.fixture
def folder(tmp_path):
    """Pictures with a table that gives their classes."""
    names = [f"{row}.png" for row in range(ROWS)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(png(number))
    lines = [f"{name},{'ab'[number % 2]}" for number, name in enumerate(names)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    return tmp_path


def test_a_picture_that_is_named_and_not_there_is_a_row_left_out(folder):
    (folder / "7.png").unlink()
    with pytest.raises(DataError, match=f"1 of {ROWS} rows .*named in metadata.csv .7.png"):
        load_data(folder)
    account = load_data(folder, max_left_out=0.1).account
    assert (account.rows.found, account.rows.used) == (ROWS, ROWS - 1)


def test_a_picture_that_no_table_names_is_a_row_left_out(folder):
    (folder / "more.png").write_bytes(png(99))
    with pytest.raises(DataError, match=f"1 of {ROWS + 1} rows .*that no table names .more.png"):
        load_data(folder)
    account = load_data(folder, max_left_out=0.1).account
    assert (account.rows.found, account.rows.used) == (ROWS + 1, ROWS)


def test_a_table_without_names_is_refused_with_the_columns_that_it_has(folder):
    (folder / "metadata.csv").write_text("picture,label\n0.png,a\n")
    with pytest.raises(DataError, match="^metadata.csv of data .* has no column 'file_name'"):
        load_data(folder)


def test_the_folders_of_pictures_say_their_splits(tmp_path):
    for number in range(4):
        place = tmp_path / ("train" if number < 2 else "my_test") / "deep"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(png(number))
    names = ["train/deep/0.png", "train/deep/1.png", "my_test/deep/2.png"]
    lines = [f"{name},{kind}" for name, kind in zip(names, "aba", strict=True)]
    (tmp_path / "Metadata.csv").write_text("\n".join(["file_name,label", *lines, "x,y,z"]))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "notes.txt").write_text("text")
    ledger, found = Ledger(), find_files(tmp_path)
    assert has_metadata(found)
    tables = read_described_pictures(tmp_path, found, ledger, "mine")
    assert {split: table["label"][:] for split, table in tables.items()} == {
        "train": ["a", "b"], "test": ["a"],
    }  # fmt: skip
    assert tables["test"].column_names == ["image", "label"]
    ledger.find_files(found.count)
    account = ledger.close({split: len(table) for split, table in tables.items()})
    assert (account.rows.found, account.rows.used) == (5, 3)
    assert sorted((part.reason, part.count, part.first) for part in account.rows.left_out) == [
        ("that no table names, of test", 1, "my_test/deep/3.png"),
        ("with more fields than the heading has names (put texts that hold the separator into "
         "quotes), of train", 1, "line 5 of Metadata.csv"),
    ]  # fmt: skip
    (left,) = account.files.left_out
    assert (left.reason, left.count, left.first) == (
        "a table or text beside pictures", 2, "other.csv",
    )  # fmt: skip


def test_only_a_table_of_that_name_describes_pictures(tmp_path):
    for name in ("data.csv", "metadata.txt", "my_metadata.csv"):
        (tmp_path / name).write_text("file_name,label\na.png,x\n")
    assert not has_metadata(find_files(tmp_path))
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png"}')
    assert has_metadata(find_files(tmp_path))
