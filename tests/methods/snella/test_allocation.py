"""Shares of a budget to the last weight, its schedule, and the scores behind it."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pclora_lab.methods.snella.allocation import BudgetAllocator
from pclora_lab.methods.snella.budget import allocate, budget_at
from pclora_lab.methods.snella.layers import KernelSparseLinear

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


def make_layers(device="cpu") -> dict[str, KernelSparseLinear]:
    generator = torch.Generator().manual_seed(0)
    widths = {"wide": (8, 6), "thin": (6, 4), "other": (5, 5)}
    layers = {
        name: KernelSparseLinear(nn.Linear(*width), 4, generator=generator)
        for name, width in widths.items()
    }
    return {name: layer.to(device) for name, layer in layers.items()}


def set_gradients(layers: dict[str, KernelSparseLinear], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for layer in layers.values():
        for factor in (layer.A, layer.B):
            factor.grad = torch.randn(factor.shape, generator=generator)


def numpy_scores(layers, seeds, beta) -> dict[str, float]:
    """The running means of methods in float64, normalized over layers."""
    means = {}
    for seed in seeds:
        set_gradients(layers, seed)
        for name, layer in layers.items():
            for factor in "AB":
                p = getattr(layer, factor)
                importance = np.abs(p.detach().double().numpy() * p.grad.double().numpy())
                sens, unc = means.get((name, factor), (0.0, 0.0))
                sens = beta * sens + (1 - beta) * importance
                unc = beta * unc + (1 - beta) * np.abs(importance - sens)
                means[name, factor] = sens, unc
    sums = {n: sum((means[n, f][0] * means[n, f][1]).mean() for f in "AB") for n in layers}
    return {name: value / sum(sums.values()) for name, value in sums.items()}


def test_scores_equal_the_running_means_and_set_the_counts():
    layers = make_layers()
    allocator = BudgetAllocator(layers, start=60, final=30, floor=2, beta=0.7)
    for seed in (1, 2, 3):
        set_gradients(layers, seed)
        allocator.update()
    want = numpy_scores(layers, (1, 2, 3), beta=0.7)
    assert allocator.scores() == pytest.approx(want, rel=1e-5)
    for progress, budget in ((0.0, 60), (1.0, 30)):
        counts = allocator.reallocate(progress)
        assert list(counts.values()) == allocate(list(want.values()), [48, 24, 25], budget, 2)
        assert counts == {name: layer.num_tunable for name, layer in layers.items()}


def test_before_any_update_layers_share_by_size():
    allocator = BudgetAllocator(make_layers(), start=97, final=0)
    assert set(allocator.scores().values()) == {0.0}
    assert allocator.reallocate(0.0) == {"wide": 48, "thin": 24, "other": 25}


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_an_update_that_is_not_finite_changes_nothing_and_is_told_once(value):
    layers = make_layers()
    allocator = BudgetAllocator(layers, start=20, final=10)
    set_gradients(layers, 1)
    allocator.update()
    before = allocator.scores()
    set_gradients(layers, 2)
    layers["thin"].B.grad[0, 0, 0] = value
    allocator.update()
    allocator.update()
    assert allocator.skipped == 2 and allocator.scores() == before
    with pytest.warns(UserWarning, match=r"2 update\(s\) of the layer scores were skipped"):
        allocator.reallocate(0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sum(allocator.reallocate(1.0).values()) == 10
    set_gradients(layers, 2)
    allocator.update()
    assert allocator.scores() != before and allocator.skipped == 2


def test_factors_without_a_gradient_keep_their_means():
    layers = make_layers()
    allocator = BudgetAllocator(layers, start=20, final=10)
    allocator.update()
    set_gradients(layers, 1)
    layers["thin"].A.grad = layers["thin"].B.grad = None
    allocator.update()
    scores = allocator.scores()
    assert scores["thin"] == 0 and min(scores["wide"], scores["other"]) > 0


def test_an_update_reads_no_value_back_from_the_device():
    # A tensor on meta has no values: reading one raises.
    layers = make_layers("meta")
    allocator = BudgetAllocator(layers, start=20, final=10)
    for layer in layers.values():
        layer.A.grad = torch.empty_like(layer.A)
    allocator.update()
    with pytest.raises(RuntimeError):
        allocator.scores()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": {}}, "no layers to share the budget between"),
        ({"beta": 1.0}, r"beta 1.0 is not in \[0, 1\)"),
        ({"floor": 5}, "the smallest possible budget is 15"),
        ({"start": -1}, "start -1 is not a number of weights"),
        ({"warmup": 2}, "warmup 2 is not in"),
    ],
)
def test_an_allocator_that_could_never_work_is_refused(options, message):
    options = {"layers": make_layers(), "start": 20, "final": 10, **options}
    with pytest.raises(ValueError, match=message):
        BudgetAllocator(**options)


def test_gradients_whose_square_overflows_are_skipped_too():
    allocator, layer = one_layer()
    layer(torch.ones(1, layer.in_features)).sum().backward()
    layer.A.grad.fill_(1e21)
    allocator.update()
    assert allocator.skipped == 1
    with pytest.warns(UserWarning, match="skipped"):
        assert sum(allocator.reallocate(1.0).values()) == 10


def test_the_scores_follow_the_layers_to_another_device():
    allocator, layer = one_layer()
    layer.to("meta")
    layer.A.grad, layer.B.grad = torch.zeros_like(layer.A), torch.zeros_like(layer.B)
    allocator.update()
    assert allocator._sens.is_meta and allocator._unc.is_meta


def one_layer():
    layer = KernelSparseLinear(torch.nn.Linear(8, 4), rank=2)
    return BudgetAllocator({"a": layer}, start=20, final=10), layer
