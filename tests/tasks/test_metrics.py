"""A metric describes itself: its columns, how a person reads it, and which way is better."""

import dataclasses
import math

import pytest

from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric, Verdict

MSE = TaskMetric("mse", "MSE", digits=4, better="lower", low=0)
PSNR = TaskMetric("psnr", "PSNR", "dB")


def test_columns_stand_beside_the_key():
    assert (ACCURACY.of_teacher, ACCURACY.if_base_removed, ACCURACY.examples) == (
        "teacher_accuracy", "accuracy_if_base_removed", "accuracy_examples",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "value", "exact", "rough", "spread"),
    [(ACCURACY, 0.98765, "98.77%", "98.8%", "98.8 ± 1.2%"), (PSNR, 28.345, "28.34 dB", "28.3 dB",
     "28.3 ± 0.0 dB"), (MSE, 0.01234, "0.0123", "0.012", "0.012 ± 0.012")],
)  # fmt: skip
def test_a_value_is_read_with_its_unit(metric, value, exact, rough, spread):
    assert metric.format(value) == exact and metric.roughly(value) == rough
    assert metric.roughly(value, 0.0123) == spread


def test_a_title_has_the_unit_unless_another_is_given():
    assert [m.title for m in (ACCURACY, PSNR, MSE)] == ["top-1 accuracy (%)", "PSNR (dB)", "MSE"]


def test_the_better_one_is_the_larger_or_the_smaller():
    assert ACCURACY.is_better(0.9, 0.8) and not ACCURACY.is_better(0.8, 0.8)
    assert MSE.is_better(0.1, 0.2) and not MSE.is_better(0.2, 0.1)
    assert max((0.3, 0.1, 0.2), key=MSE.rank) == 0.1


@pytest.mark.parametrize("told", [ACCURACY, Verdict("dog", is_right=True, sure=0.9)])
def test_what_was_said_does_not_change(told):
    name = dataclasses.fields(told)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(told, name, "other")


def test_of_these_only_accuracy_counts_examples():
    assert [metric.counts_right for metric in (ACCURACY, PSNR, MSE)] == [True, False, False]


def test_a_change_is_that_of_the_shown_values():
    assert ACCURACY.change(0.9806, 0.9694) == "-1.2" and ACCURACY.change(0.5, 0.5) == "+0.0"
    # 91.04 and 91.06 are shown as 91.0 and 91.1.
    assert ACCURACY.change(0.9104, 0.9106) == "+0.1"


@pytest.mark.parametrize("metric", [ACCURACY, MSE, PSNR])
def test_a_description_comes_back(metric):
    assert TaskMetric.from_dict({**metric.to_dict(), "of a newer version": 1}) == metric
    assert "low" not in PSNR.to_dict()  # infinity is no JSON


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (3, "metric holds 3"),
        ({"key": "mse"}, "label"),
        ({"key": "m s e", "label": "MSE"}, "no name of a column"),
        ({"key": "mse", "label": ""}, "no label"),
        ({"key": "mse", "label": "MSE", "better": "low"}, "use one of higher, lower"),
        ({"key": "mse", "label": "MSE", "scale": math.nan}, "scale"),
        ({"key": "mse", "label": "MSE", "digits": "2"}, "digits"),
    ],
)
def test_what_is_no_description_is_refused(values, what):
    with pytest.raises(ValueError, match=what):
        TaskMetric.from_dict(values)
