"""Shares of a budget to the last weight, and its schedule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pclora_lab.methods.snella.budget import allocate, budget_at

LAYERS = st.lists(
    st.tuples(st.floats(0, allow_nan=False, allow_infinity=False), st.integers(0, 10**7)),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(LAYERS, st.integers(0, 10**8), st.integers(0, 50))
def test_counts_use_the_budget_and_respect_size_and_floor(layers, budget, floor):
    scores, sizes = zip(*layers, strict=True)
    floors = [min(floor, size) for size in sizes]
    budget += sum(floors)
    counts = allocate(scores, sizes, budget, floor)
    assert sum(counts) == min(budget, sum(sizes))
    assert all(least <= n <= size for least, n, size in zip(floors, counts, sizes, strict=True))
    assert counts == allocate(scores, sizes, budget, floor)


@settings(deadline=None)
@given(LAYERS, st.integers(0, 10**8))
def test_layers_that_are_not_full_share_in_proportion(layers, budget):
    scores, sizes = zip(*layers, strict=True)
    counts = allocate(scores, sizes, budget)
    top = max(scores) or 1.0
    free = [(s / top, n) for s, n, size in zip(scores, counts, sizes, strict=True) if n < size]
    if any(score > 0 for score, _ in free):
        total, handed = sum(s for s, _ in free), sum(n for _, n in free)
        # A count differs from its share by rounding: less than 1 here, and handed by all layers'.
        for score, n in free:
            assert n == pytest.approx(handed * score / total, abs=len(free) + 1, rel=1e-9)


@pytest.mark.parametrize(
    ("scores", "sizes", "budget", "floor", "counts"),
    [
        ([1, 2, 5], [100, 100, 100], 80, 0, [10, 20, 50]),
        ([8, 1, 1], [40, 100, 100], 100, 0, [40, 30, 30]),
        ([6, 3, 1], [10, 20, 100], 60, 0, [10, 20, 30]),
        ([1, 1, 1], [9, 9, 9], 5, 0, [2, 2, 1]),
        ([1.2, 3.7, 0.1], [9, 9, 9], 5, 0, [1, 4, 0]),
        ([0, 0], [10, 30], 20, 0, [5, 15]),
        ([1, 0, 0], [10, 10, 30], 30, 0, [10, 5, 15]),
        ([1, 0], [50, 50], 40, 10, [30, 10]),
        ([1, 0], [50, 5], 40, 10, [35, 5]),
        ([1, 1], [5, 5], 100, 0, [5, 5]),
        ([1, 1], [5, 5], 0, 0, [0, 0]),
        ([1e308, 1e308, 1e-320], [9, 9, 9], 20, 0, [9, 9, 2]),
        ([], [], 0, 0, []),
    ],
)
def test_shares_by_hand(scores, sizes, budget, floor, counts):
    assert allocate(scores, sizes, budget, floor) == counts


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (([1.0, float("nan")], [5, 5], 3), "score nan cannot be a share"),
        (([1.0, float("inf")], [5, 5], 3), "score inf cannot be a share"),
        (([1.0, -2.0], [5, 5], 3), "score -2.0 cannot be a share: pass finite scores"),
        (([1.0], [5, 5], 3), "1 scores do not fit 2 sizes"),
        (([1.0, 1.0], [5, 5], -3), "budget -3 is not a number of weights"),
        (([1.0, 1.0], [5, 5], 3.5), "budget 3.5 is not a number of weights"),
        (([1.0, 1.0], [5, 5], 3, -1), "floor -1 is not a number of weights"),
        (([1.0, 1.0], [5, -5], 3), "size -5 is not a number of weights"),
        (([1.0, 1.0], [5, 2], 6, 5), "a floor of 5: the smallest possible budget is 7"),
    ],
)
def test_allocate_says_what_cannot_be(args, message):
    with pytest.raises(ValueError, match=message):
        allocate(*args)


def test_the_budget_follows_the_cubic_between_warmup_and_hold():
    at = [budget_at(p, 1000, 200, warmup=0.2, hold=0.3) for p in (0, 0.2, 0.45, 0.575, 0.7, 1)]
    assert at == [1000, 1000, 300, 212, 200, 200]  # a half and three quarters: 800·(1/8, 1/64)
    assert budget_at(0.5, 10, 90) == 80
    assert budget_at(0.6, 7, 3, warmup=0.6, hold=0.4) == 3
    assert budget_at(0.59, 7, 3, warmup=0.6, hold=0.4) == 7


@given(st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 1))
def test_the_budget_never_grows_on_its_way_down(progress, warmup, hold, later):
    first, second = sorted((progress, later))
    budgets = [budget_at(p, 10**6, 10**3, warmup, hold) for p in (0.0, first, second, 1.0)]
    assert budgets == sorted(budgets, reverse=True) and budgets[-1] == 10**3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((1.5, 10, 5), r"progress 1.5 is not in \[0, 1\]"),
        ((float("nan"), 10, 5), "progress nan is not in"),
        ((0.5, 10, 5, -0.1), "warmup -0.1 is not in"),
        ((0.5, 10, 5, 0.7, 0.7), "warmup 0.7 and hold 0.7 are more than the training"),
        ((0.5, -10, 5), "start -10 is not a number of weights"),
        ((0.5, 10, 5.5), "final 5.5 is not a number of weights"),
    ],
)
def test_budget_at_says_what_cannot_be(args, message):
    with pytest.raises(ValueError, match=message):
        budget_at(*args)
