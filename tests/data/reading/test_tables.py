"""Tables of a folder and elements of a list: which are read, which are left out and counted."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pclora_lab.data.account import DataError, Ledger
from pclora_lab.data.loading import load_data
from pclora_lab.data.reading import tables
from pclora_lab.data.reading.json_rows import read_json_rows
from pclora_lab.data.reading.tables import read_table_file, read_table_folder, require_sound
from pclora_lab.data.reading.walking import find_files


def test_a_table_after_one_that_nobody_can_read_is_read_all_the_same(tmp_path):
    rows = [f"text {row},{row % 2}" for row in range(300)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "notes.json").write_text("{ no table")
    late = [{"text": f"late {row}", "label": row % 2} for row in range(40)]
    (tmp_path / "test.json").write_text(json.dumps(late))
    data = load_data(str(tmp_path))
    assert {text[:4] for text in data.test.examples} == {"late"}
    assert any("notes.json" in line for line in data.account.lines())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing"),
        ("{broken\n" * 3, "3 that can't be read as JSON"),
        ("[1, 2]", "2 that is no"),
    ],
)
def test_json_without_a_row_says_what_was_there(tmp_path, text, reason):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=f"no list of objects.*{reason}|empty|no rows"):
        load_data(str(path))


def test_a_table_of_more_than_ten_thousand_columns_is_refused(tmp_path):
    path = tmp_path / "wide.csv"
    for columns, message in ((10_000, "no label column"), (10_001, "more than 10,000 columns")):
        heads = ",".join(f"c{n}" for n in range(columns))
        path.write_text(f"{heads}\n{','.join('a' * columns)}\n")
        with pytest.raises(DataError, match=message):
            load_data(str(path))


def test_an_element_that_is_no_row_is_counted_by_its_place(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('[{"text": "a"}, {"text": "b"}, 7, {"text": "c"}]')
    rows = read_json_rows(path)
    assert rows.table.num_rows == 3
    [lost] = rows.left_out
    assert lost.count == 1 and "element 3" in str(lost)
    path.write_text('[{"text": "a"}, {"text": "b"}')
    with pytest.raises(DataError, match="breaks off behind element 2"):
        read_json_rows(path)


def test_a_text_whose_letters_are_no_letters_is_found_before_it_is_read():
    offsets = pa.py_buffer(np.array([0, 2, 4], np.int32))
    texts = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"ok\xff\xfe")])
    with pytest.raises(pa.ArrowInvalid, match="Column 0: .*UTF8"):
        require_sound(pa.table({"text": texts}))
    require_sound(pa.table({"text": ["ok", "é"]}))


def table_folder(tmp_path, files):
    for name, rows in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame(rows)
        if path.suffix == ".parquet":
            frame.to_parquet(path)
        elif path.suffix == ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        else:
            frame.to_csv(path, index=False)
    ledger = Ledger()
    tables = read_table_folder(tmp_path, find_files(tmp_path), ledger)
    return {split: table[:] for split, table in tables.items()}, ledger


def rows(*texts, **more):
    return {"text": [*texts], "label": ["x"] * len(texts), **more}


def test_a_path_says_the_split_and_parts_of_one_are_joined(tmp_path):
    files = {
        "train/a.csv": rows("a"), "train/b.csv": rows("b"), "my_test.csv": rows("c"),
        "dev/part.csv": rows("d", "e"), "whatever.csv": rows("f"),
    }  # fmt: skip
    found, ledger = table_folder(tmp_path, files)
    texts = {split: table["text"] for split, table in found.items()}
    assert texts == {"train": ["a", "b", "f"], "test": ["c"], "validation": ["d", "e"]}
    account = ledger.close({split: len(found) for split, found in texts.items()})
    assert account.rows.found == 6 and account.rows.left_out == ()


def test_the_kind_with_the_most_bytes_says_which_columns_there_are(tmp_path):
    files = {
        "a.csv": rows(*(f"text {n}" for n in range(30))),
        "b.jsonl": rows("late", extra=[1]),
        "c.jsonl": {"word": ["other"]},
    }
    found, ledger = table_folder(tmp_path, files)
    assert len(found["train"]["text"]) == 31 and found["train"]["extra"][-1] == "1"
    ledger.find_files(3)
    (stray,) = ledger.close({"train": 31}).files.left_out
    assert (stray.reason, stray.count, stray.first) == ("no table like the others", 1, "c.jsonl")


def test_a_damaged_table_of_the_main_kind_ends_the_reading(tmp_path):
    files = {"a.csv": rows(*(f"text {n}" for n in range(9)))}
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    found, _ = table_folder(tmp_path, files)
    assert len(found["train"]["text"]) == 9
    (tmp_path / "b.parquet").write_bytes(b"PAR1" * 200)
    with pytest.raises(DataError, match="b.parquet can't be read as parquet"):
        table_folder(tmp_path, files)


def test_where_a_row_was_left_out_is_told_with_its_file(tmp_path):
    (tmp_path / "test.csv").write_text("text,label\na,x\nb,x,y\nc,x,z\n")
    found, ledger = table_folder(tmp_path, {"a.csv": rows("a", "b")})
    (part,) = ledger.close({"train": 2, "test": 1}).rows.left_out
    assert (part.count, part.first) == (2, "line 3 of test.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "^the file is empty$"),
        (
            "a.xlsx",
            b"x",
            r"^.xlsx file type: give .csv, .tsv, .jsonl, .json, .parquet, or a folder",
        ),
        ("table", b"x", "^no file type: give .csv"),
    ],
)
def test_one_file_is_a_table_of_a_known_kind(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table_file(tmp_path / name, Ledger())


@pytest.mark.parametrize(("most", "kept"), [(10**6, False), (10, True)])
def test_a_table_that_is_larger_than_two_gigabytes_stays_on_the_disk(
    tmp_path, monkeypatch, most, kept
):
    assert tables._IN_MEMORY == 2 * 1024**3
    cached = []
    monkeypatch.setattr(tables, "_IN_MEMORY", most)
    monkeypatch.setattr(
        tables, "cached_parquet", lambda path: cached.append(path) or pq.read_table(path)
    )
    pd.DataFrame(rows("a")).to_parquet(tmp_path / "a.parquet")
    ledger = Ledger()
    assert read_table_file(tmp_path / "a.parquet", ledger)["train"]["text"][0] == "a"
    assert bool(cached) is kept
    assert ledger.close({"train": 1}).files.found == 1
