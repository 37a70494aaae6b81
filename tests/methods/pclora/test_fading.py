"""λ of a layer, the note of where its weights were trained, and what counts as a jump."""

import math

import pytest
import torch
from torch import nn

from pclora_lab.methods.pclora.fading import JUMP, UNFADED, lambda_jumps
from pclora_lab.methods.pclora.layers import PCLoRAEmbedding, PCLoRALinear
from pclora_lab.methods.pclora.removal import base_removed

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


def layer_at(lam: float = 0.5) -> PCLoRALinear:
    layer = PCLoRALinear(nn.Linear(6, 4), 2)
    layer.lam.fill_(lam)
    return layer


def noted(layer: nn.Module) -> float | None:
    value = layer.trained_lam.item()
    return None if math.isnan(value) else value


@pytest.mark.parametrize(
    ("before", "now", "jumps"),
    [
        (1.0, 0.0, True),
        (0.0, 1.0, True),
        (0.5, 0.25, False),  # no more than a quarter
        (0.25, 0.5, False),
        (0.5, 0.249, True),
        (0.249, 0.5, True),
        (1, 0, True),
        (0.3, 0.3, False),
        (None, 0.0, False),
        (1.0, None, False),
        (None, None, False),
        ("1", 0.0, False),
        (1.0, {"a": 0.0}, False),
    ],
)
def test_a_jump_is_a_change_of_more_than_a_quarter_between_two_numbers(before, now, jumps):
    assert lambda_jumps(before, now) is jumps
    assert (JUMP, UNFADED) == (0.25, 0.1)  # as the lab explains them


def test_a_new_layer_is_at_one_and_was_not_trained():
    for layer in (PCLoRALinear(nn.Linear(6, 4), 2), PCLoRAEmbedding(nn.Embedding(9, 4), 2)):
        assert layer.lam.item() == 1 and layer.lam.ndim == layer.trained_lam.ndim == 0
        assert noted(layer) is None
        assert {"lam", "trained_lam"} <= set(layer.state_dict())


@pytest.mark.parametrize(
    ("training", "grad", "backward", "is_noted"),
    [
        (True, True, False, True),
        (True, True, True, True),
        (True, False, False, False),
        (False, True, False, False),
        (False, True, True, True),
        (False, False, False, False),
    ],
)
def test_what_is_trained_on_is_noted_and_what_is_looked_at_is_not(
    training, grad, backward, is_noted
):
    layer = layer_at().train(training)
    with torch.set_grad_enabled(grad):
        output = layer(X)
    if backward:
        output.sum().backward()
    assert noted(layer) == (0.5 if is_noted else None)


def test_the_note_is_lambda_of_the_last_step_and_stays_when_lambda_moves():
    layer = layer_at(0.75).train()
    layer(X)
    layer.lam.fill_(0.25)
    assert noted(layer) == 0.75
    layer(X)
    assert noted(layer) == 0.25
    layer.lam.fill_(0.125)
    layer.eval()
    layer(X)
    assert noted(layer) == 0.25
    assert layer.trained_lam.requires_grad is False


def test_an_output_that_nothing_of_is_trained_is_no_training():
    layer = layer_at().eval().requires_grad_(False)
    assert not layer(X).requires_grad and noted(layer) is None


def test_without_its_base_nothing_of_it_is_left():
    layer = layer_at()
    layer.start_from(*(torch.ones(shape) for shape in ((2, 6), (4, 2), (4,))))
    adapter = layer.adapter_output(X)
    layer.drop_base()
    assert layer.base is layer.start_A is layer.start_B is layer.start_C is None
    assert torch.equal(layer(X), adapter)
    assert set(layer.state_dict()) == {"A", "B", "C", "lam", "trained_lam"}


@pytest.mark.parametrize("inside", [False, True])
def test_the_note_travels_and_older_weights_were_trained_at_their_own_lambda(inside):
    kept, other = layer_at(0.5).train(), layer_at(1.0)
    kept(X)
    kept.lam.fill_(0.25)
    outer = nn.Sequential(kept), nn.Sequential(other)
    source, target = outer if inside else (kept, other)
    state = source.state_dict()
    target.load_state_dict(state)
    assert (other.lam.item(), noted(other)) == (0.25, 0.5)
    older = {name: x for name, x in state.items() if not name.endswith("trained_lam")}
    target.load_state_dict(older)
    assert (other.lam.item(), noted(other)) == (0.25, 0.25)
    none = {name: x for name, x in older.items() if not name.endswith("lam")}
    with pytest.raises(RuntimeError, match="trained_lam"):
        target.load_state_dict(none)


def test_a_layer_that_is_moved_keeps_both():
    layer = layer_at(0.5).train()
    layer(X)
    moved = layer.to(torch.float64)
    assert moved is layer and (layer.lam.item(), noted(layer)) == (0.5, 0.5)
    assert layer.A.dtype == torch.float64


def test_a_look_without_the_base_leaves_the_note():
    layer = layer_at(0.5).train()
    layer(X)
    with base_removed(nn.Sequential(layer)), torch.no_grad():
        layer(X)
    assert (layer.lam.item(), noted(layer)) == (0.5, 0.5)
