"""A row is a line of JSON that everybody reads, and none is lost on a full disk."""

import json

import pytest

from pclora_lab.runs.durable import history
from pclora_lab.runs.durable.history import HistoryWriter


def test_what_was_not_finite_is_told_as_not_measured(tmp_path):
    path = tmp_path / "history.jsonl"
    writer = HistoryWriter(path)
    writer.write(
        {"step": 1, "base_share": float("nan"), "layer_mse": {"a": float("inf"), "b": 1.0}}
    )
    writer.write({"step": 2, "base_share": 0.5})
    writer.close()
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {"step": 1, "base_share": None, "layer_mse": {"a": None, "b": 1.0}}
    assert second == {"step": 2, "base_share": 0.5}


def no_room(*_):
    raise OSError(28, "full")


def test_it_says_whether_every_row_has_reached_the_file(tmp_path, monkeypatch):
    writer = HistoryWriter(tmp_path / "history.jsonl")
    writer.write({"step": 1})
    assert writer.is_complete is True
    with monkeypatch.context() as full:
        full.setattr(history.os, "write", no_room)
        with pytest.raises(OSError, match="full"):
            writer.write({"step": 2})
        assert writer.is_complete is False
    writer.flush()
    assert writer.is_complete is True
    writer.close()
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
