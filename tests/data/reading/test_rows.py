"""Rows are handed to Arrow a part at a time, and nobody sees where one ends."""

import pytest

from pclora_lab.data.account import DataError
from pclora_lab.data.reading import rows as module
from pclora_lab.data.reading.rows import RowWriter


@pytest.mark.parametrize(("limit", "value"), [("_CHUNK_CELLS", 20), ("_CHUNK_ROWS", 5)])
def test_a_wide_table_is_not_collected_as_python_objects(monkeypatch, limit, value):
    """What waits to be converted is bounded in rows and, for a table of many columns, in cells."""
    monkeypatch.setattr(module, limit, value)
    found = [{f"c{column}": f"{row} {column}" for column in range(5)} for row in range(12)]
    writer, waiting = RowWriter(), []
    for row in found:
        writer.add(row)
        waiting.append(sum(map(len, writer.columns.values())))
    assert max(waiting) <= 20
    assert writer.rows().table.to_pylist() == found


def test_a_narrow_table_is_converted_at_once(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_CELLS", 20)
    writer = RowWriter()
    for row in range(12):
        writer.add({"text": f"{row}"})
    assert len(writer.columns["text"]) == 12


def test_what_later_rows_lack_is_none():
    writer = RowWriter()
    found = [{"text": "a", "label": "x"}, {"text": "b"}, {"label": "y"}, {"text": "c"}]
    for row in found:
        writer.add(row)
    expected = [{"text": row.get("text"), "label": row.get("label")} for row in found]
    assert writer.rows().table.to_pylist() == expected


def test_rows_that_can_not_be_read_are_counted_by_reason_and_the_first_is_told():
    writer = RowWriter()
    assert writer.rows().found == 0
    writer.add({"text": "a"})
    for reason, where in (("broken", "line 2"), ("long", "line 3"), ("broken", "line 5")):
        writer.leave(reason, where)
    rows = writer.rows(("a note",))
    assert rows.found == 4 and rows.notes == ("a note",) and rows.table.num_rows == 1
    assert [(p.reason, p.count, p.first) for p in rows.left_out] == [
        ("broken", 2, "line 2"), ("long", 1, "line 3"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "most"), [("_CHUNK_ROWS", 4), ("_CHUNK", 10), ("_CHUNK_CELLS", 9)]
)
def test_a_table_is_the_same_in_how_many_parts_it_is_collected(monkeypatch, limit, most):
    found = [{"text": "abc", "label": "x"}, {"text": "abc"}, {"label": None}, {"more": "é"}] * 3
    whole = collected(found)
    monkeypatch.setattr(module, limit, most)
    assert (
        collected(found)
        == whole
        == [{name: row.get(name) for name in ("text", "label", "more")} for row in found]
    )


def collected(found):
    writer = RowWriter()
    for row in found:
        writer.add(row)
    return writer.rows().table.to_pylist()


def test_so_many_columns_as_a_table_may_have_and_one_more(monkeypatch):
    monkeypatch.setattr(module, "_MOST_COLUMNS", 3)
    writer = RowWriter({"a": [], "b": []})
    writer.add({"c": "1"})
    with pytest.raises(DataError, match="there are more than 3 columns: a table of examples"):
        writer.add({"d": "1"})
    RowWriter({name: [] for name in "abc"})
    with pytest.raises(DataError, match="more than 3 columns"):
        RowWriter({name: [] for name in "abcd"})
