"""Folders with several tables: which are read, which are left out and counted."""

import json

from pclora_lab.data.loading import load_data


def test_a_table_after_one_that_nobody_can_read_is_read_all_the_same(tmp_path):
    rows = [f"text {row},{row % 2}" for row in range(300)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "notes.json").write_text("{ no table")
    late = [{"text": f"late {row}", "label": row % 2} for row in range(40)]
    (tmp_path / "test.json").write_text(json.dumps(late))
    data = load_data(str(tmp_path))
    assert {text[:4] for text in data.test.examples} == {"late"}
    assert any("notes.json" in line for line in data.account.lines())
