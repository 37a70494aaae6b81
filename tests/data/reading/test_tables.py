"""Tables of a folder and elements of a list: which are read, which are left out and counted."""

import json

import numpy as np
import pyarrow as pa
import pytest

from pclora_lab.data.account import DataError
from pclora_lab.data.loading import load_data
from pclora_lab.data.reading.json_rows import read_json_rows
from pclora_lab.data.reading.tables import require_sound


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
