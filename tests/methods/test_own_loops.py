"""Every method in a loop of one's own that runs in several processes."""

import own_loops
import pytest
import torch
from pairs import two_of
from safetensors.torch import load_file
from tiny import batch, tiny
from torch import nn

from pclora_lab import DistillationLoss, Distiller, get_pclora_model, set_progress
from pclora_lab.methods import (
    PELAConfig,
    base_share,
    make_method,
    pclora_layers,
    set_base_weight_factor,
)
from pclora_lab.methods.pclora.removal import compress, drop_base, trained_lambda
from pclora_lab.nn.layers.wrappers import innermost

LABELS = torch.tensor([0, 1, 2, 0])


def test_two_processes_end_where_one_ends(tmp_path):
    with two_of(own_loops.__file__, tmp_path):
        alone = own_loops.weights()
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-9)


class Wrapper(nn.DataParallel):
    """As DDP holds a model, in one process."""


@pytest.fixture
def pair():
    teacher = tiny("vit_digits")
    return get_pclora_model(teacher, rank=4), teacher


def test_what_takes_a_student_takes_its_wrapper(pair):
    student, _ = pair
    wrapped, images = Wrapper(student), batch(student)
    assert innermost(wrapped) is student
    assert set_progress(wrapped, 0.1) == pytest.approx(
        float(pclora_layers(student).popitem()[1].lam)
    )
    assert list(pclora_layers(wrapped)) == list(pclora_layers(student))
    assert base_share(wrapped, images) == base_share(student, images)
    assert trained_lambda(wrapped) is None
    set_base_weight_factor(wrapped, 0.0)
    assert drop_base(wrapped) is wrapped
    assert all(layer.base is None for layer in pclora_layers(student).values())
    small = compress(wrapped)
    torch.testing.assert_close(small(images), student.eval()(images))


def test_the_wrapper_is_run_and_not_what_is_inside(pair):
    student, teacher = pair
    seen = []
    wrapped = Wrapper(student)
    wrapped.register_forward_hook(lambda *_: seen.append(1))
    distiller = Distiller(student, teacher)
    expected = distiller.terms(batch(student), LABELS)
    given = distiller.terms(batch(student), LABELS, forward=wrapped)
    before = Distiller(wrapped, teacher).terms(batch(student), LABELS)
    assert len(seen) == 2
    torch.testing.assert_close(given, expected)
    torch.testing.assert_close(before, expected)


def test_the_trainers_loss_may_be_made_for_the_wrapper(pair):
    student, teacher = pair
    wrapped, images = Wrapper(student), batch(student)
    losses = [
        DistillationLoss(given, teacher)((wrapped(images),), LABELS).item()
        for given in (student, wrapped)
    ]
    assert losses[0] == losses[1]


def test_another_model_and_copies_of_the_student_are_refused(pair, monkeypatch):
    student, teacher = pair
    distiller = Distiller(student, teacher)
    with pytest.raises(ValueError, match="forward runs another VisionTransformer than"):
        distiller.terms(batch(student), LABELS, forward=Wrapper(teacher))
    copies = nn.DataParallel(student)
    copies.device_ids = [0, 1]
    cure = "copies of the student on 2 devices.*torchrun --nproc-per-node 2"
    with pytest.raises(ValueError, match=cure):
        distiller.terms(batch(student), LABELS, forward=copies)
    with pytest.raises(ValueError, match=cure):
        make_method(PELAConfig()).loss_terms(copies, teacher)
