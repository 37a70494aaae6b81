"""The gap of a feature where it is made: same numbers, less memory."""

import pytest
import torch
from torch import Tensor, nn

from pclora_lab.methods.distillation.losses import feature_gap
from pclora_lab.methods.distillation.taps import FeaturePair
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress

REAL = torch.tensor([[True, True, False], [True, False, False]])


def drawn(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 4, generator=generator, dtype=torch.float64).to(dtype)


def plain_gap(h: Tensor, target: Tensor, real: Tensor | None) -> Tensor:
    gap = (h - target) ** 2
    return gap.mean() if real is None else gap[real].mean()


@pytest.mark.parametrize("real", [None, REAL])
@pytest.mark.parametrize(("of_rest", "of_gap"), [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_gap_and_gradient_are_those_of_the_mean_square(real, of_rest, of_gap):
    def gradient(gap_of):
        h = drawn(0).requires_grad_()
        gap = gap_of(h, drawn(1), real)
        loss = 3 * of_gap * gap + of_rest * h.sin().sum()
        return gap, torch.autograd.grad(loss, h)[0]

    for one, other in zip(gradient(feature_gap), gradient(plain_gap), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_batch_of_padding_alone_has_no_gap():
    assert feature_gap(drawn(0), drawn(1), torch.zeros(2, 3, dtype=torch.bool)) == 0


@pytest.mark.parametrize(("dtype", "near"), [(torch.bfloat16, 0.02), (torch.float16, 0.003)])
def test_in_half_precision_it_is_summed_up_in_float32(dtype, near):
    """A mean over so many numbers has a slope that float16 itself can't hold."""
    target = torch.zeros(1, 4000, 400, dtype=dtype)
    h = torch.full_like(target, 0.5).requires_grad_()
    gap = feature_gap(h, target)
    assert gap.dtype == torch.float32 and gap.item() == pytest.approx(0.25, rel=near)
    # A scaled loss, as a scaler of gradients makes it.
    (h.sum() * 1e-4 + gap * 2**16).backward()
    assert h.grad.dtype == dtype
    expected = 1e-4 + 2**16 * 2 * 0.5 / h.numel()
    assert h.grad.float().mean().item() == pytest.approx(expected, rel=near)


def test_teachers_features_are_let_go_layer_by_layer():
    student, teacher = (nn.Sequential(*(nn.Linear(4, 4) for _ in range(3))) for _ in range(2))
    pair, x, held = FeaturePair(student, teacher, ["0", "1", "2"]), torch.ones(2, 4), []
    for layer in student:
        layer.register_forward_hook(lambda *_: held.append(len(pair._taps[1].outputs)))
    with pair.comparing():
        teacher(x)
        student(x)
    assert held == [2, 1, 0]
    assert pair.loss() > 0 and pair._gaps == {}


def test_what_was_recorded_in_another_order_is_compared_at_the_end():
    student, teacher = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4))
    pair, x = FeaturePair(student, teacher, ["0"]), torch.ones(2, 4)
    losses = []
    for models in ((teacher, student), (student, teacher)):
        with pair.comparing():
            for model in models:
                model(x)
        losses.append(pair.loss().item())
    assert losses[0] == losses[1] > 0


class InPlace(nn.Module):
    """Scales what its layer gave in place, as Longformer does."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        query = self.layer(x)
        query /= 3.0
        return self.last(query)


def test_what_a_model_changes_in_place_is_compared_as_it_goes_on():
    teacher, x = InPlace(), torch.randn(3, 30, 4)
    student = get_pclora_model(teacher, PCLoRAConfig(rank=1, targets="^layer$"), example=x[:1])
    set_progress(student, 0.3)
    pair = FeaturePair(student, teacher, ["layer"])
    with pair.comparing():
        with torch.no_grad():
            teacher(x)
        student(x)
    loss = pair.loss()
    gap = (student.layer(x) - teacher.layer(x)) / 3.0
    torch.testing.assert_close(loss, gap.square().mean())
    loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in (student.layer.B, student.layer.C))


def test_in_inference_mode_it_is_compared_too():
    student, teacher = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4))
    pair, x = FeaturePair(student, teacher, ["0"]), torch.ones(2, 4)
    with torch.inference_mode():
        with pair.comparing():
            teacher(x), student(x)
        inside = pair.loss().item()
    with pair.comparing():
        teacher(x), student(x)
    assert pair.loss().item() == inside > 0


def test_features_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 1, 8\) in the student and \(2, 5, 8\)"):
        feature_gap(torch.zeros(2, 1, 8), torch.zeros(2, 5, 8))
    empty = torch.zeros(0, 4, 8)
    assert feature_gap(empty, empty, torch.zeros(0, 4, dtype=torch.bool)) == 0
