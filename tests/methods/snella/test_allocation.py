"""The scores of the layers, and the shares that they get for them."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from pclora_lab.methods.snella.allocation import BudgetAllocator
from pclora_lab.methods.snella.budget import allocate, budget_at
from pclora_lab.methods.snella.layers import KernelSparseLinear


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


def updated_once():
    layers = make_layers()
    allocator = BudgetAllocator(layers, start=20, final=10)
    set_gradients(layers, 1)
    allocator.update()
    return layers, allocator


def test_before_any_update_layers_share_by_size():
    allocator = BudgetAllocator(make_layers(), start=97, final=0)
    assert set(allocator.scores().values()) == {0.0}
    assert allocator.reallocate(0.0) == {"wide": 48, "thin": 24, "other": 25}


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_an_update_that_is_not_finite_changes_nothing_and_is_told_once(value):
    layers, allocator = updated_once()
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


def test_the_state_is_a_mean_for_each_factor_as_it_always_was():
    layers = make_layers()
    allocator = BudgetAllocator(layers, start=20, final=10)
    factors = [factor for layer in layers.values() for factor in (layer.A, layer.B)]
    older = {"skipped": torch.tensor(3)}
    for i, factor in enumerate(factors):
        older[f"sens.{i}"] = torch.full(factor.shape, float(i + 1))
        older[f"unc.{i}"] = torch.full(factor.shape, 2.0)
    allocator.load_state_dict(older)
    # Twice 1 + 2, 3 + 4 and 5 + 6.
    assert list(allocator.scores().values()) == pytest.approx([6 / 42, 14 / 42, 22 / 42])
    state = allocator.state_dict()
    assert state.keys() == older.keys()
    assert all(torch.equal(state[name], older[name]) for name in older)


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


def test_means_that_were_there_stay_where_no_gradient_comes():
    layers, allocator = updated_once()
    before = allocator.state_dict()
    set_gradients(layers, 2)
    layers["thin"].B.grad = None  # the fourth factor
    allocator.update()
    after = allocator.state_dict()
    stayed = {name for name in before if torch.equal(before[name], after[name])}
    assert stayed == {"skipped", "sens.3", "unc.3"}, "and the state before is a copy"
    for layer in layers.values():
        layer.A.grad = layer.B.grad = None
    allocator.update()
    assert all(torch.equal(x, after[name]) for name, x in allocator.state_dict().items())


def test_a_new_mean_keeps_0_85_of_the_old_one_unless_told_otherwise():
    for options, beta in (({}, 0.85), ({"beta": 0.0}, 0.0)):
        layers = make_layers()
        allocator = BudgetAllocator(layers, start=20, final=10, **options)
        set_gradients(layers, 1)
        allocator.update()
        importance = (layers["wide"].A * layers["wide"].A.grad).abs()
        state = allocator.state_dict()
        torch.testing.assert_close(state["sens.0"], (1 - beta) * importance)
        torch.testing.assert_close(state["unc.0"], (1 - beta) * beta * importance)


def test_budget_warm_up_hold_and_floor_are_those_that_were_given():
    options = {"start": 80, "final": 16, "warmup": 0.2, "hold": 0.4, "floor": 3}
    allocator = BudgetAllocator(make_layers(), **options)
    for progress in (0.0, 0.2, 0.3, 0.5, 0.6, 1.0):
        counts = allocator.reallocate(progress)
        assert sum(counts.values()) == budget_at(progress, 80, 16, warmup=0.2, hold=0.4)
        assert min(counts.values()) >= 3
    for start, final in ((8, 80), (80, 8)):
        with pytest.raises(ValueError, match="a floor of 3: the smallest possible budget is 9"):
            BudgetAllocator(make_layers(), start=start, final=final, floor=3)


def test_half_precision_is_averaged_in_float32():
    layers = {name: layer.bfloat16() for name, layer in make_layers().items()}
    allocator = BudgetAllocator(layers, start=20, final=10)
    for layer in layers.values():
        layer.A.grad, layer.B.grad = torch.full_like(layer.A, 1e-3), torch.full_like(layer.B, 1e-3)
    allocator.update()
    state = allocator.state_dict()
    assert {state[name].dtype for name in state if name != "skipped"} == {torch.float32}
    wanted = 0.15 * (layers["thin"].B.float() * layers["thin"].B.grad.float()).abs()
    torch.testing.assert_close(state["sens.3"], wanted)


def test_unless_told_otherwise_the_budget_falls_from_the_first_step_to_the_last():
    allocator = BudgetAllocator(make_layers(), start=80, final=16)
    for progress in (0.0, 0.05, 0.5, 0.95, 1.0):
        counts = allocator.reallocate(progress)
        assert sum(counts.values()) == budget_at(progress, 80, 16)
    assert budget_at(0.05, 80, 16) < 80 and budget_at(0.5, 80, 16) == 24


def test_a_layer_may_starve_unless_there_is_a_floor():
    _, allocator = updated_once()
    state = allocator.state_dict()
    for name in ("sens.0", "sens.1"):  # of the first layer
        state[name].zero_()
    allocator.load_state_dict(state)
    assert allocator.reallocate(1.0)["wide"] == 0
    assert set(allocator.scores().values()) != {0.0} and allocator.scores()["wide"] == 0


def test_who_hands_the_budget_out_is_told_of_what_was_skipped():
    layers, allocator = updated_once()
    layers["thin"].B.grad.fill_(torch.nan)
    allocator.update()
    with pytest.warns(UserWarning, match="a weight or gradient was not finite") as told:
        allocator.reallocate(0.5)
    assert [warning.filename for warning in told] == [__file__]
