"""The figures of distillation draw the numbers they are given."""

import numpy as np
import pytest

from pclora_lab.course.figures.distilling import (
    drift_figure,
    latency_figure,
    reach_figure,
    repair_figure,
)
from pclora_lab.course.figures.methods import takeaway_figure
from pclora_lab.course.figures.records import outcome_figure
from pclora_lab.plots.theme import use_theme

NORMS = {
    "task": {"blocks.0.fc1": 2.0, "blocks.0.fc2": 0.5, "blocks.1.fc1": 0.123},
    "detached": {"blocks.0.fc1": 0.0, "blocks.0.fc2": 0.0, "blocks.1.fc1": 0.0},
}


def words(axis):
    return [text.get_text() for text in axis.texts]


def test_a_term_without_gradient_is_a_row_of_zeros_without_color():
    axis = reach_figure(NORMS).axes[0]
    drawn = axis.images[0].get_array()
    np.testing.assert_allclose(drawn[0], [2, 0.5, 0.123])
    assert drawn.mask[1].all() and not drawn.mask[0].any()
    assert words(axis)[:6] == ["2", "0.5", "0.1", "0", "0", "0"]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["task", "detached"]


def test_layers_stand_under_their_block_with_a_line_between_two_blocks():
    axis = reach_figure(NORMS).axes[0]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["fc1", "fc2", "fc1"]
    assert words(axis)[6:] == ["blocks.0", "blocks.1"]
    assert [line.get_xdata()[0] for line in axis.lines] == [1.5]


def test_terms_that_all_are_zero_can_be_drawn():
    assert reach_figure({"cut off": {"fc": 0.0}}).png().startswith(b"\x89PNG")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_number_stands_out_from_its_cell(theme):
    use_theme(theme)
    try:
        cells = reach_figure({"task": {"small": 1e-3, "large": 1.0}}).axes[0].texts[:2]
    finally:
        use_theme("light")
    assert [cell.get_color() for cell in cells] == ["white", "black"]


def test_a_drift_is_a_mean_with_its_range():
    axis = drift_figure({"a": [[0, 1], [0, 3]], "b": [[1, 1]]}, ylabel="gap").axes[0]
    assert [line.get_ydata().tolist() for line in axis.lines] == [[0, 2], [1, 1]]
    (band,) = axis.collections
    assert band.get_datalim(axis.transData).intervaly.tolist() == [0, 3]
    assert axis.get_ylabel() == "gap"
    with pytest.raises(ValueError, match="'a' are not of one length"):
        drift_figure({"a": [[0, 1], [0]]})


ROWS = [
    {"step": 0, "accuracy": 0.5, "task": 4.0, "feature": 0.2},
    {"step": 5, "task": 2.0, "feature": 0.1},
    {"step": 9, "accuracy": 0.8, "task": 1.0, "feature": None},
]


def test_a_repair_is_shaded_and_a_term_ends_with_it():
    left, right = repair_figure(ROWS, 0.9, repair_end=6, terms=["task", "feature", "other"]).axes
    assert left.lines[0].get_xdata().tolist() == [0, 9]
    assert left.lines[0].get_ydata().tolist() == pytest.approx([50, 80])
    assert list(left.lines[1].get_ydata()) == pytest.approx([90, 90])
    drawn = {line.get_label(): line.get_xdata().tolist() for line in right.lines}
    assert drawn == {"task": [0, 5, 9], "feature": [0, 5]}
    for axis in (left, right):
        (shade,) = axis.patches
        assert (shade.get_x(), shade.get_width()) == (0, 6)
    with pytest.raises(ValueError, match="no row has an accuracy"):
        repair_figure([{"step": 0, "task": 1.0}], 0.9, 6, ["task"])


def test_a_latency_is_a_mean_of_its_runs_over_its_multiply_adds():
    axis = latency_figure([0.5, 1.0], {"a": [[0.5, 1.0], [0.7, 1.4]]}).axes[0]
    assert axis.lines[0].get_ydata().tolist() == [50, 100]
    assert axis.lines[1].get_ydata().tolist() == pytest.approx([60, 120])
    assert list(axis.lines[2].get_ydata()) == [100, 100]
    (band,) = axis.collections
    assert band.get_datalim(axis.transData).intervaly.tolist() == pytest.approx([50, 140])
    with pytest.raises(ValueError, match="'a' has 1 times for 2 shares"):
        latency_figure([0.5, 1.0], {"a": [[0.5]]})


def test_the_model_to_take_along_has_the_dense_one_and_marks_beside_it():
    rows = [{"step": s, "accuracy": 0.5} for s in (0, 4)]
    axis = takeaway_figure({"pela": rows}, teacher=0.9, marks={"repair ends": 2}).axes[0]
    assert list(axis.lines[1].get_ydata()) == pytest.approx([90, 90])
    assert list(axis.lines[2].get_xdata()) == [2, 2]
    assert words(axis) == ["repair ends"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["PELA", "dense model"]


def test_an_outcome_says_what_its_marks_are():
    rows = [{"label": name, "accuracy": value} for name in "ab" for value in (0.6, 0.8)]
    (legend,) = outcome_figure(rows, teacher=0.9).legends
    assert [text.get_text() for text in legend.get_texts()] == ["one run", "mean of 2", "teacher"]
