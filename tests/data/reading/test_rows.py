"""Rows are handed to Arrow a part at a time, and nobody sees where one ends."""

import pytest

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
