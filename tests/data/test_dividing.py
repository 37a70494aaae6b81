"""Rows held out of a split: how many, and of which classes."""

from collections import Counter

import numpy as np
import pytest

from pclora_lab.data.dividing import divide
from pclora_lab.data.splits import Split


def held_out(labels, share):
    split = Split([f"text {row}" for row in range(len(labels))], np.array(labels))
    kept, held = divide(split, share)
    assert sorted(kept.examples + held.examples) == sorted(split.examples)
    return Counter(held.labels.tolist())


def test_a_small_share_has_as_many_rows_as_there_are_classes():
    assert sum(held_out([0] * 90 + [1] * 60 + [2] * 50, 0.001).values()) == 3


def test_a_class_of_one_row_makes_no_more_rows_be_held_out_than_asked():
    assert sum(held_out([0] * 49 + [1], 0.01).values()) == 1
    assert sum(held_out([0] * 49 + [1], 0.1).values()) == 5


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25])
def test_classes_are_held_out_in_proportion(share):
    assert held_out([0] * 80 + [1] * 40, share) == {0: 80 * share, 1: 40 * share}


def test_classes_of_two_rows_are_held_out_in_proportion_too():
    """Of every class one row to learn from and one to test on: 20 classes, 40 rows."""
    assert held_out([label for label in range(20) for _ in range(2)], 0.5) == dict.fromkeys(
        range(20), 1
    )
