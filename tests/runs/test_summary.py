"""A result as lines: what was measured, then the notes, then the report."""

from pclora_lab.runs.summary import result_lines, result_table

RESULT = {"accuracy": 0.5, "max_logit_difference": 0.00123, "run_dir": "runs/one"}


def test_lines_are_what_was_measured_then_notes_then_the_report():
    assert result_lines({}) == []
    measured = [
        ("student, test accuracy", "50.00%"),
        ("max |Δlogit| compressed", "0.0012"),
        ("run folder", "runs/one"),
    ]
    assert result_lines(RESULT) == measured
    more = {**RESULT, "report": "runs/one/report.html", "notes": ["held", "cut"], "params_after": 3}
    notes = [("note", "held"), ("note", "cut"), ("report", "runs/one/report.html")]
    assert result_lines(more) == measured + notes
    assert result_lines({**RESULT, "notes": None}) == measured


def test_a_table_has_its_values_below_each_other():
    lines = result_table(RESULT).split("\n")
    assert [line[29:] for line in lines] == ["50.00%", "0.0012", "runs/one"]
    assert [line[:29].rstrip() for line in lines] == [label for label, _ in result_lines(RESULT)]
