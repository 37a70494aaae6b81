"""A table beside pictures: what it names and what it forgets is counted, and the first is named."""

import pytest
from pictures import png

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data

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
