"""λ and weights belong to one step: a base that the weights lean on does not leave unsaid."""

import copy

import pytest
import torch

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.losses import Distiller
from pclora_lab.methods.pclora.model import get_pclora_model, pclora_layers, set_progress
from pclora_lab.methods.pclora.removal import compress, drop_base, trained_lambda
from pclora_lab.methods.registry import make_method
from pclora_lab.training.measuring.metrics import held_tensors


@pytest.fixture
def student(vit):
    return get_pclora_model(vit, PCLoRAConfig(rank=2))


def step(student, images, progress):
    set_progress(student, progress)
    student(images).sum().backward()
    set_progress(student, 1.0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("act", [compress, drop_base])
def test_weights_that_lean_on_the_base_do_not_lose_it_unasked(student, images, act, training):
    step(student.train(training), images, 0.15)
    with pytest.raises(ValueError, match=r"last trained at λ = 0.62.*allow_unfaded=True"):
        act(student)
    assert all(layer.base is not None for layer in pclora_layers(student).values())
    assert act(student, allow_unfaded=True) is not None


def test_a_run_says_where_its_base_was_removed_from_weights_that_leaned_on_it(student, images):
    method = make_method(PCLoRAConfig(rank=2))
    assert method.notes(student) == []
    step(student.train(), images, 0.15)
    (note,) = method.notes(student)
    assert "trained at λ = 0.62: the base was removed all the same" in note
    step(student, images, 0.45)
    assert method.notes(student) == []


@pytest.mark.parametrize("act", [compress, drop_base])
def test_a_small_rest_is_no_reason_to_refuse(student, images, act):
    step(student.train(), images, 0.45)
    assert 0 < trained_lambda(student) < 0.1
    act(student)


def test_who_only_looks_has_not_trained(student, images):
    student(images)  # with gradients, but in eval mode and without a backward pass
    with torch.no_grad():
        student.train()(images)
    assert trained_lambda(student) is None
    set_progress(student, 1.0)
    assert compress(student) is not None


def test_the_last_training_step_counts_also_without_a_base(student, images):
    step(student.train(), images, 0.15)
    drop_base(student, allow_unfaded=True)
    with pytest.raises(ValueError, match="last trained at λ = 0.62"):
        compress(student)
    step(student, images, 1.0)
    assert trained_lambda(student) == 0 and compress(student) is not None


def test_it_travels_with_the_weights(student, images):
    other = copy.deepcopy(student)
    step(student.train(), images, 0.15)
    set_progress(other, 1.0)
    other.load_state_dict(student.state_dict())
    set_progress(other, 1.0)
    for model in (other, copy.deepcopy(student), student.to(torch.bfloat16)):
        with pytest.raises(ValueError, match="last trained at"):
            compress(model)


def test_weights_that_were_saved_without_it_belong_to_their_own_lambda(student):
    set_progress(student, 0.15)
    old = {n: t for n, t in student.state_dict().items() if not n.endswith("trained_lam")}
    student.load_state_dict(old)
    set_progress(student, 1.0)
    with pytest.raises(ValueError, match="last trained at λ = 0.62"):
        compress(student)


def test_it_counts_under_reentrant_checkpointing(student, images):
    from torch.utils.checkpoint import checkpoint

    set_progress(student.train(), 0.15)
    checkpoint(student, images.requires_grad_(), use_reentrant=True).sum().backward()
    assert trained_lambda(student) == pytest.approx(0.617, abs=1e-3)


def test_a_record_does_not_count_it(student):
    notes = len(pclora_layers(student))
    everything = [*student.parameters(), *student.buffers()]
    assert len(held_tensors(student)) == len(everything) - notes


def test_the_distillers_steps_are_training_steps(vit, student, images):
    set_progress(student, 0.15)
    labels = torch.zeros(8, dtype=torch.long)
    sum(Distiller(student, vit).terms(images, labels).values()).backward()
    assert trained_lambda(student) == pytest.approx(0.617, abs=1e-3)
