"""What is imitated: features where they count, and logits at a temperature."""

import math

import pytest
import torch

from pclora_lab.methods.distillation.losses import (
    FEATURE,
    LOGIT,
    TAPS,
    feature_gap,
    feature_loss,
    logit_loss,
)
from pclora_lab.methods.metrics import Panel

REAL = torch.tensor([[True, True, False], [True, False, False]])


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("shape", "real"), [((2, 3, 4), None), ((2, 3, 4), REAL), ((2, 3), None), ((7, 2, 3, 4), None)]
)
def test_a_gap_is_the_mean_square_over_what_is_no_padding(dtype, shape, real):
    student, teacher = drawn(*shape, dtype=dtype), drawn(*shape, seed=1, dtype=dtype)
    difference = (student.double() - teacher.double()).square()
    wanted = difference.mean() if real is None else difference[real].mean()
    found = feature_gap(student, teacher, real)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found.item() == pytest.approx(wanted.item(), rel=2e-2 if dtype.itemsize == 2 else 1e-5)


def test_padding_has_no_gradient_and_the_teacher_none_at_all():
    student, teacher = drawn(2, 3, 4).requires_grad_(), drawn(2, 3, 4, seed=1).requires_grad_()
    (3 * feature_gap(student, teacher, REAL)).backward()
    wanted = 3 * 2 * (student - teacher).detach() / (3 * 4)
    torch.testing.assert_close(student.grad, wanted * REAL.unsqueeze(-1))
    assert teacher.grad is None


def test_a_teacher_of_another_precision_is_compared_in_the_students():
    student, teacher = drawn(2, 3, 4), drawn(2, 3, 4, seed=1, dtype=torch.float64)
    found = feature_gap(student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, (student - teacher.float()).square().mean())


def test_taps_weigh_the_same_and_only_the_teachers_are_asked_for():
    student = {"a": drawn(2, 3, 4), "b": drawn(2, 3, 40), "more": drawn(1)}
    teacher = {"a": drawn(2, 3, 4, seed=1), "b": drawn(2, 3, 40, seed=1)}
    gaps = [feature_gap(student[name], teacher[name], REAL) for name in "ab"]
    torch.testing.assert_close(feature_loss(student, teacher, REAL), sum(gaps) / 2)


def test_logits_are_compared_at_a_temperature_of_two_and_teach_the_student_alone():
    student, teacher = drawn(5, 3).requires_grad_(), drawn(5, 3, seed=1)
    p, q = (teacher / 2).softmax(-1), (student / 2).softmax(-1)
    wanted = 4 * (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(logit_loss(student, teacher), wanted)
    torch.testing.assert_close(logit_loss(student, teacher, 2.0), wanted)
    logit_loss(student, teacher).backward()
    torch.testing.assert_close(student.grad, 2 * (q - p).detach() / 5)


def test_half_precision_logits_are_compared_in_float32():
    student, teacher = (drawn(5, 3, seed=s, dtype=torch.bfloat16) for s in (0, 1))
    found = logit_loss(student, teacher)
    assert found.dtype == torch.float32 and math.isfinite(found)
    torch.testing.assert_close(found, logit_loss(student.float(), teacher.float()))


def test_both_terms_are_drawn_in_the_panel_of_losses_in_lines_of_their_own():
    assert {FEATURE.panel, LOGIT.panel} == {Panel.LOSS}
    assert FEATURE.dash != LOGIT.dash and FEATURE.color != LOGIT.color
    assert TAPS == ("linears", "blocks")


@pytest.mark.parametrize(
    ("shape", "real"),
    [((1, 1, 4), [[True]]), ((2, 2, 1), [[True, False], [False, False]]), ((1, 1, 1), [[True]])],
)
def test_one_word_alone_has_the_mean_over_its_features(shape, real):
    student, teacher, real = drawn(*shape), drawn(*shape, seed=1), torch.tensor(real)
    wanted = (student - teacher).square()[real].mean()
    torch.testing.assert_close(feature_gap(student, teacher, real), wanted)
