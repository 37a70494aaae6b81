"""Figures of runs side by side show every run, and say which models are as large as before."""

import pytest

from pclora_lab.course.figures.comparing import adaptation_figure, budget_figure, meeting_figure
from pclora_lab.plots.method_styles import method_style


def row(method, budget, accuracy, after=4, teacher=0.8):
    """A comparison's row."""
    sizes = {"params_before": 9, "params_after": after, "teacher_accuracy": teacher}
    return {"method": method, "budget": budget, "accuracy": accuracy, **sizes}


ROWS = [
    *(row("svd", 0.2, accuracy, teacher=0.7) for accuracy in (0.7, 0.8)),
    *(row("svd", 0.1, accuracy) for accuracy in (0.1, 0.3)),
    *(row("lora", 0.1, accuracy, after=9) for accuracy in (0.5, 0.6)),
    row("pela", 0.1, None),
]
STEPS = [
    {"step": s, "lam": 1 - s, "accuracy": a, "accuracy_if_base_removed": r}
    for s, a, r in ((0, 0.9, 0.4), (1, 0.7, 0.7))
]


def test_every_seed_is_a_dot_and_the_mean_the_methods_mark():
    small, large = budget_figure(ROWS).axes
    assert [small.get_title(), large.get_title()] == ["10% of the layers", "20% of the layers"]
    lora, lora_mean, svd, svd_mean, teacher = small.lines
    assert lora.get_xdata() == pytest.approx([50, 60]) and set(lora.get_ydata()) == {0}
    assert svd.get_xdata() == pytest.approx([10, 30]) and set(svd.get_ydata()) == {1}
    assert (lora_mean.get_xdata()[0], svd_mean.get_xdata()[0]) == pytest.approx((55, 20))
    assert svd_mean.get_marker() == method_style("svd").marker
    assert teacher.get_xdata() == pytest.approx([80, 80])
    assert large.lines[0].get_xdata() == pytest.approx([70, 80])


def test_the_methods_are_named_best_first_and_those_that_failed_left_out():
    figure = budget_figure(ROWS)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["LoRA", "SVD"]
    assert figure.get_supxlabel() == "top-1 (%), 2 seeds"
    assert budget_figure(ROWS[-2:]).get_supxlabel() == "top-1 (%), 1 seed"


def test_a_result_as_large_as_before_is_hollow():
    lora, svd = budget_figure(ROWS).axes[0].lines[1:4:2]
    assert lora.get_markerfacecolor() == "none" and svd.get_markerfacecolor() != "none"


def test_adaptation_shows_the_accuracy_where_it_was_measured_and_the_budget_everywhere():
    rows = [{"progress": p, "density": 1 - p, "accuracy": a} for p, a in ((0, 0.1), (0.5, None))]
    left, right = adaptation_figure(rows, before=0.12).axes
    assert list(left.lines[0].get_xdata()) == [0] and left.lines[1].get_ydata()[0] == 12
    assert list(right.lines[0].get_ydata()) == [100, 50]


def test_both_accuracies_of_a_run_have_its_color():
    teachers_own = {"step": -1, "lam": None, "accuracy": 0.6}
    with_gaps = [teachers_own, *STEPS, {"step": 2, "accuracy": None}]
    axis = meeting_figure({"a": with_gaps, "b": STEPS}).axes[0]
    a, a_removed, b, b_removed, teacher = axis.lines
    assert a.get_ydata() == pytest.approx([90, 70])
    assert a_removed.get_ydata() == pytest.approx([40, 70])
    assert [line.get_linestyle() for line in axis.lines] == ["-", "--", "-", "--", ":"]
    assert a.get_color() == a_removed.get_color() != b.get_color() == b_removed.get_color()
    assert teacher.get_ydata() == pytest.approx([90, 90])


def test_where_no_run_begins_as_its_teacher_none_is_drawn():
    assert len(meeting_figure({"a": STEPS[1:]}).axes[0].lines) == 2


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda: budget_figure([row("svd", 0.1, None)]), "no run has an accuracy"),
        (lambda: meeting_figure({"lora": [{"step": 0, "accuracy": 0.5}]}), "'lora' has no row"),
    ],
)
def test_what_can_not_be_drawn_is_refused(draw, reason):
    with pytest.raises(ValueError, match=reason):
        draw()
