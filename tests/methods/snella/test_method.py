"""SNELLA's competitions: when they are held, for which budget, what is told and kept."""

import pytest
import torch
from small_net import SmallNet, small_batch

from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.snella.config import SNELLAConfig
from pclora_lab.methods.snella.method import SNELLA
from pclora_lab.methods.snella.model import (
    allocator_of,
    kernel_sparse_layers,
    last_allocation,
)
from pclora_lab.nn.counting import count_model

X = small_batch()
SIZE = 8 * 12
STEPS = 12


def pair(**options):
    method = SNELLA(SNELLAConfig(**{"rank": 2, "sparsity": 0.5, **options}))
    generator = torch.Generator().manual_seed(3)
    return method, method.apply(SmallNet(), MethodContext(example=X, generator=generator))


def asked(student, monkeypatch) -> list[float]:
    """The progress of every competition from now on."""
    held, allocator = [], allocator_of(student)
    hand_out = allocator.reallocate
    monkeypatch.setattr(allocator, "reallocate", lambda p: held.append(p) or hand_out(p))
    return held


@pytest.mark.parametrize("allocations", [1, 3, 4])
def test_layers_compete_as_often_as_asked_at_equal_distances(allocations, monkeypatch):
    method, student = pair(allocations=allocations)
    held = asked(student, monkeypatch)
    for step in range(STEPS):
        method.set_progress(student, step / STEPS)
        assert last_allocation(student) == step * allocations // STEPS
    method.set_progress(student, 1.0)
    inner = [k / allocations for k in range(allocations - 1)]
    assert held == [*inner, 1.0], "the last takes the final budget at once"


def test_one_competition_gives_every_layer_the_same_share_of_the_final_budget():
    method, student = pair(allocations=1, sparsity=0.75)
    told = method.set_progress(student, 0.0)
    assert set(told["layer_density"].values()) == {0.25} and told["density"] == 0.25


def test_it_tells_how_much_may_change_in_all_by_layer_and_where_nothing_may():
    method, student = pair(allocations=2)
    method.set_progress(student, 0.6)
    layers = list(kernel_sparse_layers(student).values())
    for layer, count in zip(layers, (0, 96, 24, 0), strict=True):
        layer.set_num_tunable(count)
    told = method.set_progress(student, 0.7)  # no competition is due
    assert told["density"] == 120 / (4 * SIZE) and told["starved"] == 0.5
    assert list(told["layer_density"].values()) == [0, 1, 0.25, 0]
    assert list(told["layer_density"]) == list(kernel_sparse_layers(student))
    known = {metric.key for metric in method.metrics}
    assert set(told) - {"layer_density"} <= known


def test_the_allocator_learns_from_gradients():
    method, student = pair()
    assert set(allocator_of(student).scores().values()) == {0.0}
    student(X).sum().backward()
    method.after_backward(student)
    scores = allocator_of(student).scores()
    assert sum(scores.values()) == pytest.approx(1) and len(set(scores.values())) == 4


def test_a_student_that_is_taken_up_goes_on_with_the_same_competition(monkeypatch):
    method, student = pair(allocations=3)
    student(X).sum().backward()
    method.after_backward(student)
    told = method.set_progress(student, 0.4)
    state = method.state_dict(student)
    kept = {name: value.clone() for name, value in state.items()}
    other = pair(allocations=3)[1]
    method.load_state_dict(other, state)
    held = asked(other, monkeypatch)
    assert method.set_progress(other, 0.4) == told and not held
    assert allocator_of(other).scores() == allocator_of(student).scores()
    method.set_progress(student, 0.9)
    student(X).sum().backward()
    method.after_backward(student)
    assert all(torch.equal(value, kept[name]) for name, value in state.items()), "nothing is shared"
    assert method.set_progress(other, 0.9)["density"] == 0.5 and held == [1.0]


def test_the_start_uses_what_is_known_about_the_model(monkeypatch):
    def again(*_, **__):
        raise AssertionError("it was counted already")

    net = SmallNet()
    context = MethodContext(example=X, counts=count_model(net, example=X))
    monkeypatch.setattr("pclora_lab.methods.snella.model.count_model", again)
    SNELLA(SNELLAConfig(rank=2)).apply(net, context)


def test_the_finished_model_is_merged_and_as_large_as_before():
    method, student = pair(allocations=1)
    method.set_progress(student, 0.0)
    small = method.finalize(student)
    torch.testing.assert_close(small(X), student.eval()(X))
    assert sum(p.numel() for p in small.parameters()) == sum(
        p.numel() for p in SmallNet().parameters()
    )
    assert not method.compresses and method.starts_from == "pretrained"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 3}, "rank 3 is odd.*use 2 or 4"),
        ({"rank": 1}, "rank"),
        ({"rank": 4098}, "rank"),
        ({"warmup": 0.6, "hold": 0.5}, "warmup 0.6 and hold 0.5 are more than the whole"),
        ({"sparsity": 1.1}, "sparsity"),
        ({"sparsity": -0.1}, "sparsity"),
        ({"start_sparsity": 1.5}, "start_sparsity|start sparsity"),
        ({"start_sparsity": -0.5}, "start_sparsity|start sparsity"),
        ({"allocations": 0}, "allocations"),
        ({"allocations": 10**6 + 1}, "allocations"),
        ({"floor": -1}, "floor"),
        ({"floor": 2**40 + 1}, "floor"),
        ({"warmup": -0.1}, "warmup|warm-up"),
        ({"hold": 1.1}, "hold"),
        ({"dropout": 0.95}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"kernel": "cubic"}, "kernel 'cubic': use one of piecewise_linear, mixed, linear, rbf"),
        ({"sparsifier": "hard"}, "sparsifier 'hard': use one of squared, soft, mask"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SNELLAConfig(**options)


def test_the_ends_of_every_range_can_be_taken():
    SNELLAConfig(rank=2, sparsity=0, start_sparsity=1, allocations=1, floor=0, dropout=0.9)
    SNELLAConfig(rank=4096, sparsity=1, start_sparsity=0, allocations=10**6, floor=2**40, dropout=0)
    SNELLAConfig(warmup=0.5, hold=0.5)
    SNELLAConfig(warmup=1, hold=0)
    SNELLAConfig(warmup=0, hold=1)


def test_a_state_of_a_model_with_other_layers_is_refused():
    method, student = pair()
    state = method.state_dict(student)
    with pytest.raises(ValueError, match="argument"):
        method.load_state_dict(student, state | {"tuned": state["tuned"][:-1]})
