"""Curves and figures of a run, from rows that are made up for the purpose."""

import io

import numpy as np
import pytest
from PIL import Image

from pclora_lab.course.figures.records import initialization_figure, schedule_figure
from pclora_lab.files import load_published_result
from pclora_lab.methods.metrics import Panel
from pclora_lab.plots.curves import curves, history_curves
from pclora_lab.plots.history import history_figure
from pclora_lab.plots.live import story_figure
from pclora_lab.plots.overlay import overlay_figure
from pclora_lab.runs.summary import result_table

ROWS = [
    {"phase": "teacher", "step": 10, "steps": 20, "accuracy": 0.5, "task": 1.0},
    {"phase": "teacher", "step": 20, "steps": 20, "accuracy": 0.9, "task": 0.5},
    {"phase": "fade", "step": 0, "lam": 1.0, "accuracy": 0.9, "teacher_accuracy": 0.9},
    {"phase": "fade", "step": 5, "lam": 0.5, "accuracy": None, "task": 0.3, "step_ms": 20.0},
]
RESULT = {
    "accuracy": 0.95, "teacher_accuracy": None, "accuracy_if_base_removed": 0.95, "seconds": 1.5,
    "params_before": 1000, "params_after": 100, "params_removed_replaced": 0.91,
    "bytes_before": 4_000_000, "bytes_after": 400_000,
    "params_removed_whole": 0.9, "macs_removed_whole": 0.88, "max_logit_difference": 0.0,
    "device": "cpu", "precision": "no", "peak_memory_mb": 5.0, "run_dir": "runs/<b>x</b>",
}  # fmt: skip


def points(column, phase="fade"):
    index = next(
        i for i, c in enumerate(history_curves()) if (c.column, c.phase) == (column, phase)
    )
    return [values.tolist() for values in curves(ROWS)[index]]


def test_the_teacher_stands_left_of_step_zero():
    assert points("accuracy", "teacher") == [[-10.0, 0.0], [0.5, 0.9]]


def test_unmeasured_values_are_left_out():
    assert points("accuracy") == [[0.0], [0.9]]
    assert points("lam") == [[0.0, 5.0], [1.0, 0.5]]


def test_a_loss_that_is_only_rounding_is_not_drawn():
    rows = [{"phase": "fade", "step": n, "feature": v} for n, v in ((1, 1e-13), (2, 0.1))]
    drawn = [y.tolist() for _, y in curves(rows) if len(y)]
    assert drawn == [[0.1]]


def test_figures_draw_what_the_rows_hold():
    figure = history_figure(ROWS)
    drawn = {line.get_label() for axis in figure.axes for line in axis.get_lines()}
    assert {
        "λ",
        "teacher while fine-tuned",
        "student as it is",
        "time per step (median of 9)",
    } <= drawn
    assert figure.png().startswith(b"\x89PNG")
    line = schedule_figure(["linear"], 0.5).axes[0].get_lines()[0]
    assert np.interp(25, *line.get_data()) == pytest.approx(0.5)


def test_the_saved_record_of_the_starts_can_be_drawn():
    record = load_published_result("starts_digits")
    lines = initialization_figure(record["runs"]).axes[0].get_lines()
    assert len(lines) == len(record["runs"]) == 9
    with pytest.raises(FileNotFoundError, match="no record 'nope'.*starts_digits"):
        load_published_result("nope")


def test_the_table_says_when_there_is_no_teacher_to_compare_with():
    assert "teacher, test accuracy       –" in result_table(RESULT)


def test_one_slow_step_does_not_hide_when_steps_become_faster():
    times = [10.0] * 20 + [500.0] + [10.0] * 10 + [5.0] * 20
    rows = [{"phase": "fade", "step": n, "step_ms": t} for n, t in enumerate(times)]
    drawn = next(y for (_, y), c in zip(curves(rows), history_curves(), strict=True) if c.secondary)
    assert drawn.tolist() == [10.0] * 31 + [5.0] * 20


def test_an_accuracy_is_in_percent_on_every_axis_and_in_every_hover():
    axis = history_figure(ROWS).axes[Panel.ACCURACY]
    assert axis.yaxis.get_major_formatter()(0.5, 0) == "50%"
    overlay = overlay_figure()
    for figure, name in ((overlay, "yaxis2"), (story_figure(), "yaxis")):
        assert figure.layout[name].tickformat == ".0%" and figure.layout[name].hoverformat == ".1%"
    hovers = {trace.hovertemplate for trace in overlay.data if trace.yaxis == "y2"}
    assert hovers and all("%{y:.1%}" in hover for hover in hovers)


def test_lines_of_one_run_are_told_apart_in_a_table():
    of_one = [(t.yaxis, t.meta) for t in overlay_figure().data if t.legendgroup == "0" and t.meta]
    assert len(of_one) == len(set(of_one)) > 4


def test_a_figure_in_a_notebook_is_sharp_keeps_its_size_and_says_what_it_shows():
    figure = schedule_figure(["linear"], 0.5)
    png, about = figure._repr_png_()
    assert Image.open(io.BytesIO(png)).width == pytest.approx(2 * about["width"], abs=2)
    assert "λ" in about["alt"] and "linear" in about["alt"]  # what the axes and the legend say
    assert figure.described("One line falls.")._repr_png_()[1]["alt"] == "One line falls."
