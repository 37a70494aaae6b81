"""The figures of theory draw the numbers they are given, and refuse what can't be drawn."""

import numpy as np
import pytest
import torch

from pclora_lab.course.figures.theory import layer_errors_figure, truncation_figure

VALUES = {"W": torch.tensor([2.0, 2.0, 1.0, 0.0]), "WL": torch.tensor([3.0, 1.0, 1.0])}
STEPS = [(0.0, 1.0), (0.1, 0.6), (0.3, 0.3)]


def test_the_bars_are_shares_of_energy_split_at_the_rank():
    first, second, _ = truncation_figure(VALUES, rank=2).axes
    for axis, shares in ((first, [4, 4, 1, 0]), (second, [9, 1, 1])):
        heights = [bar.get_height() for bar in axis.patches]
        assert heights == pytest.approx(100 * np.array(shares) / sum(shares))
        colors = [bar.get_facecolor() for bar in axis.patches]
        assert len(set(colors[:2])) == len(set(colors[2:])) == 1 and colors[1] != colors[2]
    assert [first.get_title(), second.get_title()] == ["W: e = 33%", "WL: e = 30%"]


def test_every_curve_runs_from_all_to_nothing_with_a_mark_at_the_rank():
    curves = truncation_figure(VALUES, rank=2).axes[-1]
    for line, values in zip(curves.lines, VALUES.values(), strict=True):
        errors = line.get_ydata()
        assert len(errors) == len(values) + 1 and (errors[0], errors[-1]) == (100, 0)
        assert line.get_markevery() == [2]
    assert curves.lines[0].get_ydata()[2] == pytest.approx(100 / 3)


def test_the_prediction_is_dashed_and_over_the_measurement():
    predicted = [(0.0, 1.0), (0.2, 0.5), (0.25, 0.25)]
    axis = layer_errors_figure(STEPS, predicted, fade_end=1.5).axes[0]
    drawn = [line.get_ydata() for line in axis.lines[:4]]
    np.testing.assert_allclose(drawn[:2], 100 * np.array(STEPS).T)
    np.testing.assert_allclose(drawn[2:], 100 * np.array(predicted).T)
    assert [line.get_linestyle() for line in axis.lines[:4]] == ["-", "-", "--", "--"]
    assert list(axis.lines[4].get_xdata()) == [1.5, 1.5]
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == ["measured, as it is", "measured, base removed", "predicted", "λ reaches 0"]


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda: truncation_figure(VALUES, rank=4), "rank 4 can't be marked: use 1 to 3"),
        (lambda: truncation_figure(VALUES, rank=0), "rank 0 can't be marked"),
        (lambda: truncation_figure({}, rank=1), "rank 1 can't be marked"),
        (lambda: layer_errors_figure(STEPS, STEPS[:2]), "3 steps were measured and 2 predicted"),
    ],
)
def test_what_can_not_be_drawn_is_refused(draw, reason):
    with pytest.raises(ValueError, match=reason):
        draw()
