"""A row is a line of JSON that everybody reads, whatever was measured."""

import json

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
