"""The figures of lessons 00 and 02 draw what the rows say, and refuse rows that say nothing."""

import numpy as np
import pytest

from pclora_lab.course.figures.fading import release_figure, run_figure, switch_figure

LAMS = (1.0, 0.4, 0.0)
TEACHING = {"phase": "teacher", "step": 0}


def rows(**more):
    found = []
    for i, lam in enumerate(LAMS):
        row = {"phase": "fade", "step": 10 * i, "lam": lam, "held_percent": 120.0 if lam else 12.0}
        found.append(row | {key: values[i] for key, values in more.items()})
    return found


def accuracies():
    names = ("accuracy", "accuracy_if_base_removed", "teacher_accuracy")
    return dict(zip(names, ([0.9, 0.8, 0.7], [0.1, 0.3, 0.7], [0.9, 0.9, 0.9]), strict=True))


def shares(*starts):
    return [{f"b.{i}.fc{i}": start * lam for i, start in enumerate(starts)} for lam in LAMS]


def test_a_run_is_drawn_with_its_teacher_and_the_step_in_which_the_base_goes():
    left, right = run_figure([TEACHING, *rows(**accuracies())]).axes
    as_it_is, removed, teacher, end = left.lines
    np.testing.assert_allclose(as_it_is.get_ydata(), [90, 80, 70])
    np.testing.assert_allclose(removed.get_ydata(), [10, 30, 70])
    assert list(teacher.get_ydata()) == [90, 90] and list(end.get_xdata()) == [20, 20]
    assert list(right.lines[0].get_ydata()) == [120, 120, 12]
    names = [text.get_text() for text in left.get_legend().get_texts()]
    assert "teacher" in names and "λ reaches 0" in names


def test_layers_that_start_unequal_lie_on_each_other_over_their_own_start():
    left, right = release_figure(rows(layer_base_share=shares(0.1, 0.4))).axes
    drawn = np.array([line.get_ydata() for line in left.lines])
    np.testing.assert_allclose(drawn, np.outer([0.1, 0.4], LAMS))
    first, second, lam, half = right.lines
    for line in (first, second, lam):
        np.testing.assert_allclose(line.get_ydata(), LAMS)
    assert list(half.get_ydata()) == [0.5, 0.5]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["fc0", "fc1"]


def arms():
    scores = {"as it is": (0.1, 0.2), "cleared": (0.5, 0.7)}
    return [
        {"label": label, "accuracy": score, "update_sizes": [score, 2 * score]}
        for label, pair in scores.items()
        for score in pair
    ]


def test_an_arm_has_a_dot_for_each_seed_a_mark_for_the_mean_and_its_mean_update():
    left, right = switch_figure(arms(), ["cleared"]).axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["as it is", "cleared"]
    dots, mark = left.lines[2:]
    assert list(dots.get_xdata()) == [50, 70] and mark.get_xdata()[0] == pytest.approx(60)
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["one seed", "mean of 2"]
    (line,) = right.lines
    np.testing.assert_allclose(line.get_ydata(), [0.6, 1.2])
    assert line.get_label() == "cleared" and len(switch_figure(arms()).axes[1].lines) == 2


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda: run_figure(rows()), "no row has both accuracies"),
        (lambda: release_figure(rows()), "no row has layer_base_share"),
        (lambda: release_figure(rows(layer_base_share=shares(0.1, 0.0))), "share of 0"),
        (lambda: switch_figure(arms(), ["fresh"]), "no row is labeled 'fresh': there are as it is"),
    ],
)
def test_what_says_nothing_is_refused(draw, reason):
    with pytest.raises(ValueError, match=reason):
        draw()
