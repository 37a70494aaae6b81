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
    # A megabyte is a million bytes.
    many = {"bytes_before": 9 * 10**9, "bytes_after": 10**10, "bytes_on_disk": 9 * 10**9}
    assert size.text(many) == "9000.00 → 10000.00 MB"
    assert result_columns.result_column("bytes_on_disk").line(many) == "9000.00 MB"


def test_a_row_of_a_comparison_holds_what_its_runs_cost_and_where():
    """Whoever compares two rows has to see that one was measured elsewhere, or otherwise."""
    held = {column.key for column in RESULT_COLUMNS if column.compared}
    assert held == {
        "accuracy", "teacher_accuracy", "params_before", "params_after", "params_trained",
        "params_removed_replaced", "macs_before", "macs_after", "bytes_on_disk", "seconds",
        "latency_ms_before", "latency_ms_after", "peak_memory_mb", "device", "precision", "lr",
        "task",
    }  # fmt: skip


FORMATTED = {
    "teacher_accuracy": "98.77%", "accuracy": "98.77%", "params_removed_replaced": "98.77%",
    "params_removed_whole": "98.8%", "macs_removed_whole": "98.77%", "params_after": "1",
    "params_before": "1", "params_trained": "1", "macs_after": "0.0 MMACs", "bytes_after": "1",
    "latency_ms_before": "1.0 ms", "latency_ms_after": "0.99 ms", "seconds": "1.0 s",
}  # fmt: skip


@pytest.mark.parametrize(("key", "text"), FORMATTED.items())
def test_a_number_has_the_digits_and_the_unit_of_its_column(key, text):
    assert result_columns.result_column(key).format(0.98765) == text


def test_which_numbers_are_better_the_higher_and_what_they_are_compared_with():
    better = {kind: {c.key for c in RESULT_COLUMNS if c.better == kind} for kind in ("higher", "")}
    assert better["higher"] == {
        "teacher_accuracy", "accuracy", "params_removed_replaced", "params_removed_whole",
        "macs_removed_whole",
    }  # fmt: skip
    assert better[""] == {
        "class_names", "account", "params_before", "macs_before", "latency_ms_before", "device",
        "precision", "lr", "run_dir", "task",
    }  # fmt: skip
    macs = result_columns.result_column("macs_after")
    assert macs.value({"macs_after": 2_500_000}) == 2.5 and macs.format(2_540_000) == "2.5 MMACs"
    assert result_columns.result_column("accuracy").value({"accuracy": None}) is None


def test_a_summary_tells_every_number_in_its_own_words(run):
    result = run.result
    result |= {"account": {"files": {"found": 3, "used": 2, "left_out": [
        {"reason": "empty", "count": 1, "first": "a.png"}]}, "columns": {"found": 2, "used": 2,
        "left_out": []}, "rows": {"found": 9, "used": 9, "left_out": []}}}  # fmt: skip
    assert [(label, text) for label, text in result_lines(result) if label != "run folder"] == [
        ("teacher, test accuracy", "98.06%"),
        ("student, test accuracy", "24.72%"),
        ("classes", "10: 0, 1, 2, 3, 4, 5 and 4 more"),
        ("rows", "9 found, 9 used · files: 3 found, 2 used, 1 left out: 1 empty (a.png)"),
        ("removed, replaced layers", "96.47% of parameters"),
        ("removed, whole model", "95.42% of parameters"),
        ("trained", "16,714 parameters"),
        ("parameters", "450,730 → 20,650"),
        ("size", "1.80 → 0.08 MB"),
        ("on disk", "0.09 MB"),
        ("MACs removed, whole model", "94.35%"),
        ("max |Δlogit| compressed", "0"),
        ("time", "3.0 s on cpu (float32)"),
        ("peak memory", "1,047 MB (whole process)"),
    ]
    result |= {"teacher_accuracy": None, "class_names": [], "device": "cuda:0", "account": None}
    told = dict(result_lines(result))
    assert told["teacher, test accuracy"] == "–" and told["peak memory"] == "1,047 MB on the GPU"
    assert not {"classes", "rows"} & told.keys()
    for key, label in (("bytes_on_disk", "on disk"), ("params_trained", "trained")):
        del result[key]
        assert label not in dict(result_lines(result))


@pytest.mark.parametrize("column", RESULT_COLUMNS, ids=lambda column: column.key)
def test_a_number_alone_is_what_is_written_with_its_unit(column):
    """A table of runs has the numbers, a summary the words: a person reads the same in both."""
    value = column.value({column.key: 1234.5678})
    number = column.format(1234.5678).removesuffix(column.unit).replace(",", "")
    assert float(number) == pytest.approx(value, abs=0.5 * 10**-column.digits)
