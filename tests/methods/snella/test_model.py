"""A student of SNELLA: what trains, what is shared, how much may change, and the merged model."""

import pytest
import torch
from small_net import TARGETS, NoGradients, SmallNet, small_batch
from torch import nn

from pclora_lab.methods.snella.config import SNELLAConfig
from pclora_lab.methods.snella.layers import KernelSparseLinear
from pclora_lab.methods.snella.model import (
    allocator_of,
    get_snella_model,
    kernel_sparse_layers,
    last_allocation,
    merge,
)
from pclora_lab.nn.counting import count_model

X = small_batch()
WEIGHTS = 4 * 8 * 12


def made(net: nn.Module | None = None, **options) -> nn.Module:
    config = SNELLAConfig(**{"rank": 2, **options})
    generator = torch.Generator().manual_seed(5)
    return get_snella_model(net or SmallNet(), config, example=X, generator=generator)


def test_factors_the_head_and_the_class_token_train_and_nothing_else():
    student = made(kernel="mixed")
    scalars = ("A", "B", "alpha", "beta", "gamma")
    factors = {f"{name}.{part}" for name in TARGETS for part in scalars}
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    assert trained == factors | {"cls_token", "head.weight", "head.bias"}


def test_a_head_that_is_replaced_keeps_its_base_frozen():
    student = made(targets="fc1|head")
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    own = {f"{name}.{part}" for name in (*TARGETS[::2], "head") for part in "AB"}
    assert trained == own | {"cls_token"}


def test_replaced_weights_are_shared_and_the_rest_is_the_students_own():
    net = SmallNet()
    student = made(net)
    layers = kernel_sparse_layers(student)
    assert list(layers) == TARGETS
    for name, layer in layers.items():
        assert layer.base.weight is net.get_submodule(name).weight
        assert layer.base.bias is net.get_submodule(name).bias
    ours = {p.data_ptr() for n, p in student.named_parameters() if ".base." not in n}
    assert not ours & {p.data_ptr() for p in net.parameters()}
    assert all(type(net.get_submodule(name)) is nn.Linear for name in TARGETS)


def test_options_reach_every_layer():
    student = made(rank=4, kernel="rbf", sparsifier="soft", start_sparsity=0.5, dropout=0.3)
    for layer in kernel_sparse_layers(student).values():
        assert (layer.rank, layer.kernel, layer.sparsifier) == (4, "rbf", "soft")
        assert layer.dropout.p == 0.3 and float(layer.sparsity) == 0.5
    assert list(kernel_sparse_layers(made(targets="fc2"))) == TARGETS[1::2]
    plain = kernel_sparse_layers(get_snella_model(SmallNet(), example=X))
    assert {layer.kernel for layer in plain.values()} == {SNELLAConfig().kernel}


def test_factors_are_drawn_from_the_generator_alone():
    def factors(seed: int, moved: int) -> torch.Tensor:
        torch.manual_seed(moved)
        generator = torch.Generator().manual_seed(seed)
        config = SNELLAConfig(rank=2)
        student = get_snella_model(SmallNet(), config, example=X, generator=generator)
        return torch.cat([m.A.flatten() for m in kernel_sparse_layers(student).values()])

    assert torch.equal(factors(1, 0), factors(1, 9))
    assert not torch.equal(factors(1, 0), factors(2, 0))


@pytest.mark.parametrize(
    ("options", "start", "final"),
    [
        ({"sparsity": 0.75}, 1.0, 0.25),
        ({"sparsity": 0.75, "start_sparsity": 0.5}, 0.5, 0.25),
        ({"sparsity": 0.25, "start_sparsity": 0.5}, 0.75, 0.75),  # it never grows
        ({"budget": 0.5}, 1.0, 0.5),
        ({"budget": 0.5, "sparsity": 0.9}, 1.0, 0.5),  # which overrides the sparsity
    ],
)
def test_the_budget_falls_from_the_start_to_what_may_change_at_the_end(options, start, final):
    allocator = allocator_of(made(**options))
    assert sum(allocator.reallocate(0.0).values()) == start * WEIGHTS
    assert sum(allocator.reallocate(1.0).values()) == final * WEIGHTS


def test_floor_warm_up_and_hold_are_those_of_the_config():
    allocator = allocator_of(made(sparsity=0.5, warmup=0.25, hold=0.5, floor=40))
    totals = [sum(allocator.reallocate(p).values()) for p in (0.25, 0.3, 0.49, 0.5, 1.0)]
    assert totals[0] == WEIGHTS > totals[1] > totals[2] == totals[3] == totals[4] == WEIGHTS // 2
    with pytest.raises(ValueError, match="a floor of 97"):
        made(sparsity=0.5, floor=97)


def test_a_budget_buys_the_largest_even_rank_for_the_factors():
    for budget in (0.5, 0.9):
        student = made(budget=budget)
        layers = kernel_sparse_layers(student).values()
        room = budget * sum(layer.params for layer in count_model(SmallNet(), example=X).layers)
        (rank,) = {layer.rank for layer in layers}
        each = sum(layer.in_features + layer.out_features for layer in layers)
        assert rank % 2 == 0 and rank * each <= room < (rank + 2) * each
    with pytest.raises(ValueError, match="budget"):
        made(budget=0.1)


def test_what_is_known_about_the_model_is_not_counted_again(monkeypatch):
    net = SmallNet()
    counts = count_model(net, example=X)

    def again(*_, **__):
        raise AssertionError("it was counted already")

    monkeypatch.setattr("pclora_lab.methods.snella.model.count_model", again)
    student = get_snella_model(net, SNELLAConfig(rank=2), example=X, counts=counts)
    assert list(kernel_sparse_layers(student)) == TARGETS


def test_a_student_that_would_not_run_leaves_the_model_as_it_was():
    net = NoGradients()
    with pytest.raises(ValueError, match="no output of NoGradients has a gradient"):
        made(net)
    assert all(p.requires_grad for p in net.parameters())


def test_no_competition_was_held_yet_and_who_is_no_student_has_no_allocator():
    student = made()
    assert last_allocation(student) == -1 == last_allocation(SmallNet())
    with pytest.raises(ValueError, match="SmallNet has no budget allocator: pass what get_snella"):
        allocator_of(SmallNet())
    assert allocator_of(student).layers == kernel_sparse_layers(student)


@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel], ids=["plain", "wrapped"])
def test_the_merged_model_answers_as_the_student_does_and_shares_nothing(wrap):
    student = made(dropout=0.2, sparsity=0.5).train()
    allocator = allocator_of(student)
    state = {n: x.clone() for n, x in student.state_dict().items()}
    merged = merge(wrap(student))
    assert all(type(merged.get_submodule(name)) is nn.Linear for name in TARGETS)
    assert not any(module.training for module in merged.modules())
    assert not hasattr(merged, "snella_allocator")
    assert allocator_of(student) is allocator and student.training
    assert all(torch.equal(x, state[n]) for n, x in student.state_dict().items())
    torch.testing.assert_close(merged(X), student.eval()(X))
    ours = {p.data_ptr() for p in student.parameters()}
    assert not ours & {p.data_ptr() for p in merged.parameters()}


def test_merging_that_fails_leaves_the_student_its_allocator(monkeypatch):
    def broken(*_):
        raise RuntimeError("no memory")

    student = made()
    monkeypatch.setattr("pclora_lab.methods.snella.model.deepcopy_sharing", broken)
    with pytest.raises(RuntimeError, match="no memory"):
        merge(student)
    assert allocator_of(student).layers == kernel_sparse_layers(student)


def test_a_model_without_such_layers_is_merged_as_it_is():
    net = SmallNet().train()
    merged = merge(net)
    assert not merged.training and torch.equal(merged(X), net.eval()(X))
    assert all(isinstance(m, KernelSparseLinear) is False for m in merged.modules())
