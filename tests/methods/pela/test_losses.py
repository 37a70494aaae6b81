"""PELA's two losses, against an independent computation."""

import numpy as np
import pytest
import torch
from torch import nn

from pclora_lab.methods.pela.losses import feature_distillation, weight_perturbation
from pclora_lab.methods.pela.model import factorize_model
from pclora_lab.methods.registry import make_method, method_class
from pclora_lab.nn.low_rank import LowRankLinear


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def product(factors: tuple[torch.Tensor, torch.Tensor]) -> np.ndarray:
    A, B = (factor.double().numpy() for factor in factors)
    return B @ A


def by_name(features: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"blocks.{i}": feature for i, feature in enumerate(features)}


def test_the_perturbation_equals_a_dense_computation(vit):
    small = factorize_model(vit)
    gaps = [
        np.abs(
            product((small.get_submodule(n).A.detach(), small.get_submodule(n).B.detach()))
            - vit.get_submodule(n).weight.detach().double().numpy()
        ).max()
        for n in small.pela["ranks"]
    ]
    for epsilon in (0.0, 1e-3, 0.5):
        expected = np.mean((np.array(gaps) - epsilon) ** 2)
        assert weight_perturbation(small, vit, epsilon).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("epsilon", [0.0, 50.0], ids=["pull", "push"])
def test_the_gradient_of_the_perturbation_equals_finite_differences(epsilon):
    dense = nn.Sequential(nn.Linear(6, 5)).double()
    small = nn.Sequential(LowRankLinear(6, 5, 2, dtype=torch.float64))
    layer = small[0]
    layer.A.data, layer.B.data = drawn(2, 6).double(), drawn(5, 2, seed=1).double()

    def loss(A, B):
        layers = nn.Sequential(LowRankLinear(6, 5, 2, dtype=torch.float64))
        for part, factor in ((layers[0].down, A), (layers[0].up, B)):
            del part.weight
            part.weight = factor
        return weight_perturbation(layers, dense, epsilon)

    leaves = [layer.A.detach().clone().requires_grad_(), layer.B.detach().clone().requires_grad_()]
    assert torch.autograd.gradcheck(loss, leaves)
    weight_perturbation(small, dense, epsilon).backward()
    assert dense[0].weight.grad is None
    assert (layer.B.grad.abs().sum(1) > 0).sum() == 1, "one row"
    assert (layer.A.grad.abs().sum(0) > 0).sum() == 1, "one column"


def test_nothing_as_large_as_a_weight_is_kept_for_the_backward_pass():
    dense = nn.Sequential(nn.Linear(64, 48))
    small = nn.Sequential(LowRankLinear(64, 48, 4))
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        weight_perturbation(small, dense, 1e-3)
    assert kept and max(kept) <= 64 * 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_perturbation_is_computed_in_float32_whatever_the_model_is_in(vit, dtype):
    small, vit = factorize_model(vit).to(dtype), vit.to(dtype)
    exact = weight_perturbation(small.double(), vit.double(), 0.0)
    small, vit = small.to(dtype), vit.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = weight_perturbation(small, vit, 0.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4)
    loss.backward()
    assert small.blocks[0].mlp.fc1.A.grad.any()


def test_a_perturbation_without_any_factorized_layer_is_refused(vit):
    with pytest.raises(ValueError, match="no LowRankLinear .* pass what factorize_model returned"):
        weight_perturbation(vit, vit, 1e-3)
    small = factorize_model(vit)
    with pytest.raises(ValueError, match="no LowRankLinear"):
        weight_perturbation(small, small, 1e-3)


@pytest.mark.parametrize("form", [list, tuple, by_name], ids=["list", "tuple", "dict"])
def test_feature_distillation_is_the_mean_over_blocks(form):
    student = [drawn(2, 5, 4, seed=i).requires_grad_() for i in range(3)]
    teacher = [drawn(2, 5, 4, seed=9 + i).requires_grad_() for i in range(3)]
    loss = feature_distillation(form(student), form(teacher))
    gaps = [(s - t).detach().double().numpy() for s, t in zip(student, teacher, strict=True)]
    assert loss.item() == pytest.approx(np.mean([(gap**2).mean() for gap in gaps]), rel=1e-5)
    loss.backward()
    assert all(s.grad.any() for s in student) and all(t.grad is None for t in teacher)


def test_blocks_weigh_the_same_however_wide_and_half_precision_is_compared_in_float32():
    student = [torch.full((1, 2, 300), 300.0).half(), torch.zeros(1, 2, 3).half()]
    loss = feature_distillation(student, [torch.zeros_like(s) for s in student])
    assert loss.dtype == torch.float32 and loss.item() == 45_000


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ([torch.zeros(1, 2, 3)], [torch.zeros(1, 2, 3)] * 2),
        ([torch.zeros(1, 2, 3)], [torch.zeros(1, 1, 3)]),
        ({"a": torch.zeros(1, 2, 3)}, {"b": torch.zeros(1, 2, 3)}),
        ([], []),
        ({}, {}),
    ],
    ids=["length", "shape", "names", "no_block", "no_name"],
)
def test_features_that_do_not_belong_together_are_refused(student, teacher):
    with pytest.raises(
        ValueError, match="the student's blocks are .*, the teacher's .*same blocks"
    ):
        feature_distillation(student, teacher)


def test_blocks_are_imitated_as_a_whole_also_where_most_layers_stay_dense(vit, images):
    method = make_method(method_class("pela").Config(exclude="attn.proj,mlp"))
    losses = method.loss_terms(method.apply(vit), vit)
    losses(images, torch.zeros(8, dtype=torch.long), 0.0)
    assert list(losses.features.names) == ["blocks.0", "blocks.1"]
    losses.close()


class Flat(nn.Module):
    """Has no blocks: one layer to factorize, and one whose name begins alike."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.fc2 = nn.Linear(16, 12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.fc(x))


def test_without_blocks_the_factorized_layers_themselves_are_imitated():
    teacher, x = Flat(), drawn(4, 16)
    student = factorize_model(teacher, targets="fc", rank=3, example=x[:1])
    losses = make_method(method_class("pela").Config()).loss_terms(student, teacher)
    found = losses(x, torch.zeros(4, dtype=torch.long), 0.0)
    assert losses.features.names == ("fc",)
    torch.testing.assert_close(found["feature"], (student.fc(x) - teacher.fc(x)).square().mean())
    losses.close()
