"""A number of a result is described once: one entry more is seen wherever results are shown."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pclora_lab import Comparison, RunConfig, load_run
from pclora_lab.cli import compare as cli_compare
from pclora_lab.export import model_card
from pclora_lab.export.model_card import _cell as model_card_cell
from pclora_lab.runs import execute, result_columns, result_lines, summarize
from pclora_lab.runs.result_columns import RESULT_COLUMNS, ResultColumn
from pclora_lab.ui.browser.table_rows import table_columns, table_row

WRITTEN = Path(__file__).parents[1] / "fixtures" / "before_rooms"
TOP_5 = ResultColumn(
    "top5_accuracy", "student, top-5", 100, "%", 1, "higher", listed="top-5", card="top-5 accuracy",
    compared=True, head="top-5",
)  # fmt: skip


@pytest.fixture
def run():
    found = load_run(WRITTEN / "finished")
    found.result["top5_accuracy"] = 0.875
    return found


def test_every_number_that_is_shown_somewhere_is_described_once(tmp_path):
    keys = [column.key for column in RESULT_COLUMNS]
    assert len(set(keys)) == len(keys)
    config = RunConfig(steps=1, evaluations=1, eval_images=16, device="cpu")
    *_, end = execute(config, tmp_path)
    measured = json.loads((Path(end.result["run_dir"]) / "result.json").read_text())
    assert set(keys) <= set(measured)
    assert {column.before for column in RESULT_COLUMNS} - {""} <= set(measured)
    assert {column.better for column in RESULT_COLUMNS} == {"", "higher", "lower"}


def test_one_more_column_is_seen_everywhere(run, monkeypatch, tmp_path):
    without = (result_lines(run.result), table_row(run), model_card(run.result, RunConfig()))
    monkeypatch.setattr(result_columns, "RESULT_COLUMNS", (*RESULT_COLUMNS, TOP_5))
    assert ("student, top-5", "87.5%") in result_lines(run.result)
    assert table_row(run)["top5_accuracy"] == 87.5
    listed = {"name": "top5_accuracy", "label": "top-5", "kind": "number", "digits": 1, "unit": "%"}
    assert listed in table_columns()
    assert "| top-5 accuracy | not measured | 87.5% |" in model_card(run.result, RunConfig())
    assert "top-5" not in str(without)


def test_a_comparison_holds_and_prints_it_too(monkeypatch, tmp_path):
    monkeypatch.setattr(result_columns, "RESULT_COLUMNS", (*RESULT_COLUMNS, TOP_5))
    base = RunConfig(steps=2, evaluations=1, eval_images=16, device="cpu")
    comparison = Comparison(
        base, methods=("svd",), budgets=(0.1,), seeds=(0,), lrs=(1e-3,), out=tmp_path
    )
    assert comparison.rows()[0]["top5_accuracy"] is None
    numbers = {c.key: 0.5 for c in (*RESULT_COLUMNS, TOP_5) if c.compared}
    rows = [{"method": "svd", "budget": 0.1, "seed": 0, **numbers, "error": None}]
    table = cli_compare._table(summarize(rows))
    assert table.splitlines()[0].endswith("top-5") and table.splitlines()[1].endswith("50.0")
    assert isinstance(summarize(rows), pd.DataFrame)


def test_the_table_of_a_comparison_is_written_as_ever():
    facts = {"params_after": 57514, "params_trained": 51234, "macs_after": 1064640}
    rows = [
        {
            "method": "svd",
            "budget": 0.1,
            "seed": s,
            "accuracy": a,
            "latency_ms_after": 3.26,
            **facts,
        }
        for s, a in ((0, 0.4), (1, 0.6))
    ]
    assert cli_compare._table(summarize(rows)).splitlines() == [
        "method           budget         accuracy   parameters      trained    MMACs       ms",
        "svd                 0.1     50.0 ± 14.1%       57,514       51,234      1.1      3.3",
    ]


def test_a_run_that_was_before_the_column_is_shown_without_it(monkeypatch, tmp_path):
    monkeypatch.setattr(result_columns, "RESULT_COLUMNS", (*RESULT_COLUMNS, TOP_5))
    run = load_run(WRITTEN / "finished")
    assert "student, top-5" not in dict(result_lines(run.result))
    assert table_row(run)["top5_accuracy"] is None
    numbers = {c.key: 0.5 for c in RESULT_COLUMNS if c.compared}
    rows = [{"method": "svd", "budget": 0.1, "seed": 0, **numbers, "error": None}]
    assert cli_compare._table(summarize(rows)).splitlines()[1].endswith("–")


def test_a_number_of_the_card_is_read_as_its_column_says():
    latency = ResultColumn("latency_ms_after", unit="ms", digits=2, card="latency")
    assert model_card_cell({"latency_ms_after": 3.256}, "latency_ms_after", latency) == "3.26 ms"


def test_a_size_in_bytes_is_told_in_megabytes():
    (size,) = (column for column in RESULT_COLUMNS if column.key == "bytes_after")
    assert size.text({"bytes_before": 1_824_000, "bytes_after": 256_400}) == "1.82 → 0.26 MB"


def test_a_row_of_a_comparison_holds_what_its_runs_cost_and_where():
    """Whoever compares two rows has to see that one was measured elsewhere, or otherwise."""
    held = {column.key for column in RESULT_COLUMNS if column.compared}
    assert held == {
        "accuracy", "teacher_accuracy", "params_before", "params_after", "params_trained",
        "params_removed_replaced", "macs_before", "macs_after", "bytes_on_disk", "seconds",
        "latency_ms_before", "latency_ms_after", "peak_memory_mb", "device", "precision", "lr",
    }  # fmt: skip
