"""The three starts: the best rank-r factors there are, and a student that equals the model."""

import numpy as np
import pytest
import torch
from torch import nn

from pclora_lab.methods.factorization import (
    activation_svd_factors,
    affine_factors,
    cholesky_factor,
    singular_values,
    svd_factors,
)
from pclora_lab.methods.input_moments import InputMoments, measure_inputs
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.initialization import init_residual
from pclora_lab.methods.pclora.layers import PCLoRALinear
from pclora_lab.methods.pclora.model import get_pclora_model

OUT, IN = 10, 16
ranks = pytest.mark.parametrize("rank", [1, 4, 10])


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(OUT, IN, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def activations() -> torch.Tensor:
    """Inputs that live mostly in four directions and are not centered, ``(500, 16)``."""
    generator = torch.Generator().manual_seed(1)
    spread = torch.tensor([5.0] * 4 + [0.1] * (IN - 4))
    mix = torch.linalg.qr(torch.randn(IN, IN, generator=generator))[0]
    center = torch.randn(IN, generator=generator)
    return torch.randn(500, IN, generator=generator) * spread @ mix + center


def moments_of(x: torch.Tensor) -> InputMoments:
    moments = InputMoments(x.shape[-1])
    for batch in x.split(128):
        moments.update(batch.reshape(-1, 4, x.shape[-1]))
    return moments


@ranks
def test_svd_factors_are_the_best_of_their_rank(weight, rank):
    A, B = svd_factors(weight, rank)
    assert A.shape == (rank, IN) and B.shape == (OUT, rank)
    singular = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    error = np.linalg.norm(weight.double().numpy() - (B @ A).numpy()) ** 2
    assert error == pytest.approx((singular[rank:] ** 2).sum(), abs=1e-9)


def test_svd_factors_share_the_singular_values_evenly(weight):
    A, B = svd_factors(weight, 4)
    singular = np.linalg.svd(weight.double().numpy(), compute_uv=False)[:4]
    np.testing.assert_allclose((A @ A.T).numpy(), np.diag(singular), atol=1e-9)
    np.testing.assert_allclose((B.T @ B).numpy(), np.diag(singular), atol=1e-9)


def test_moments_over_batches_equal_numpy(activations):
    moments = moments_of(activations)
    x = activations.double().numpy()
    np.testing.assert_allclose(moments.mean.numpy(), x.mean(0), atol=1e-4)
    np.testing.assert_allclose(moments.covariance.numpy(), np.cov(x.T, ddof=0), atol=1e-3)


@ranks
def test_activation_svd_is_optimal_in_the_norm_of_the_inputs(weight, activations, rank):
    covariance = torch.as_tensor(np.cov(activations.double().numpy().T, ddof=0))
    A, B = activation_svd_factors(weight, covariance, rank, damping=0)
    L = np.linalg.cholesky(covariance.numpy())
    W = weight.double().numpy()
    singular = np.linalg.svd(W @ L, compute_uv=False)
    error = np.linalg.norm((W - (B @ A).numpy()) @ L) ** 2
    assert error == pytest.approx((singular[rank:] ** 2).sum(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_activation_svd_beats_plain_svd_on_the_calibration_inputs(weight, activations, rank):
    centered = (activations - activations.mean(0)).double()
    covariance = moments_of(activations).covariance

    def error(factors):
        A, B = factors
        return ((centered @ (weight.double() - B @ A).T) ** 2).sum(1).mean()

    plain = error(svd_factors(weight, rank))
    assert error(activation_svd_factors(weight, covariance, rank)) < 0.9 * plain


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
def test_svd_starts_C_at_the_bias(bias):
    base = nn.Linear(IN, OUT, bias=bias)
    layer = PCLoRALinear(base, 3)
    init_residual(layer, None)
    assert torch.equal(layer.C.detach(), base.bias.detach() if bias else torch.zeros(OUT))


def test_activation_svd_alone_keeps_the_mean_of_the_outputs(activations):
    base = nn.Linear(IN, OUT)
    layer = PCLoRALinear(base, 3)
    init_residual(layer, moments_of(activations))
    gap = (base(activations) - layer.adapter_output(activations)).mean(0)
    torch.testing.assert_close(gap, torch.zeros(OUT), atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("init", ["svd", "activation_svd"])
def test_the_start_includes_the_scale(activations, init, scale):
    base = nn.Linear(IN, OUT)
    layer = PCLoRALinear(base, OUT, scale=scale)
    init_residual(layer, moments_of(activations) if init == "activation_svd" else None)
    torch.testing.assert_close(layer.adapter_output(activations), base(activations))


@pytest.mark.parametrize(
    ("init", "tolerance"), [("zeros", 0.0), ("svd", 1e-5), ("activation_svd", 1e-5)]
)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_student_equals_the_model_at_lambda_one(vit, images, init, tolerance, scale):
    config = PCLoRAConfig(rank=4, init=init, scale=scale)
    student = get_pclora_model(vit, config, calibration=[images])
    assert (student(images) - vit(images)).abs().max() <= tolerance


def test_measuring_sees_every_layer_and_leaves_the_model_alone(vit, images):
    vit.train()
    vit.blocks[0].eval()
    modes = [module.training for module in vit.modules()]
    layers = {"fc1": vit.blocks[0].mlp.fc1, "fc2": vit.blocks[1].mlp.fc2}
    moments = measure_inputs(vit, layers, [images[:4], images[4:]])
    assert {name: m.count for name, m in moments.items()} == {"fc1": 8 * 5, "fc2": 8 * 5}
    assert [module.training for module in vit.modules()] == modes
    assert not any(layer._forward_hooks for layer in layers.values())


def test_activation_svd_without_calibration_is_refused(vit):
    with pytest.raises(ValueError, match="no input reached .*activation_svd.*pass calibration="):
        get_pclora_model(vit, PCLoRAConfig(rank=4, init="activation_svd"))


@pytest.mark.parametrize(
    "calibration",
    [torch.full((2, 3, 16, 16), 3.0), torch.randn(1, 3, 16, 16)],
    ids=["constant", "one_image"],
)
def test_few_or_constant_calibration_images_are_enough_for_a_start(vit, images, calibration):
    config = PCLoRAConfig(rank=4, init="activation_svd")
    student = get_pclora_model(vit, config, calibration=[calibration])
    torch.testing.assert_close(student(images), vit(images), atol=1e-4, rtol=1e-4)


def test_inputs_far_from_zero_do_not_spoil_the_covariance():
    x = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0)) + 1000
    np.testing.assert_allclose(
        moments_of(x).covariance.numpy(), np.cov(x.double().numpy().T, ddof=0), atol=0.01
    )


def test_calibration_that_is_not_finite_is_refused_and_the_model_unchanged(vit, images):
    with pytest.raises(ValueError, match="finite|NaN"):
        get_pclora_model(
            vit,
            PCLoRAConfig(rank=4, init="activation_svd"),
            calibration=[images * torch.nan],
        )
    assert all(parameter.requires_grad for parameter in vit.parameters())


def test_no_float64_is_asked_of_apples_gpu():
    from pclora_lab.methods.input_moments import _float64_device

    assert _float64_device(torch.device("mps", 0)) == torch.device("cpu")
    assert _float64_device(torch.device("cuda", 1)) == torch.device("cuda", 1)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (20, 20)])
def test_both_drivers_give_one_approximation_with_even_factors(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (A, B), (A2, B2) = svd_factors(weight, 5), svd_factors(weight, 5, driver="gram")
    torch.testing.assert_close(B2 @ A2, B @ A, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(A2.norm(dim=1), B2.norm(dim=0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(singular_values(weight)[:5], A2.norm(dim=1) ** 2)


def test_the_gram_driver_refuses_what_is_not_finite_and_passes_a_zero_through():
    with pytest.raises(ValueError, match="not finite everywhere"):
        svd_factors(torch.full((3, 3), torch.nan), 1, driver="gram")
    A, B = svd_factors(torch.zeros(3, 4), 2, driver="gram")
    assert not A.any() and not B.any()


def test_without_another_wish_a_ten_thousandth_of_the_mean_keeps_the_covariance_regular(
    weight, activations
):
    moments = moments_of(activations)
    covariance, bias = moments.covariance, torch.ones(OUT)
    for made, wanted in (
        ((cholesky_factor(covariance),), (cholesky_factor(covariance, 1e-4),)),
        *(
            (function(*given, 3), function(*given, 3, 1e-4))
            for function, given in (
                (activation_svd_factors, (weight, covariance)),
                (affine_factors, (weight, bias, moments)),
            )
        ),
    ):
        for one, other in zip(made, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_damping_is_a_share_of_the_inputs_whatever_their_size(size):
    covariance = size * torch.diag(torch.tensor([1.0, 3.0]))
    L = cholesky_factor(covariance, damping=0.5)
    # Half of the mean of 1 and 3 on both.
    torch.testing.assert_close(L @ L.T, size * torch.diag(torch.tensor([2.0, 4.0])).double())


def test_inputs_that_never_vary_have_a_factor_all_the_same():
    L = cholesky_factor(torch.zeros(3, 3))
    assert torch.linalg.matrix_rank(L, atol=1e-12) == 3 and L.abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_the_eigenvectors_are_those_of_the_smaller_gram_matrix(monkeypatch, shape):
    eigh, asked = torch.linalg.eigh, []
    monkeypatch.setattr(torch.linalg, "eigh", lambda gram: asked.append(gram.shape) or eigh(gram))
    svd_factors(torch.ones(shape), 2, driver="gram")
    eigvalsh = torch.linalg.eigvalsh
    monkeypatch.setattr(
        torch.linalg, "eigvalsh", lambda gram: asked.append(gram.shape) or eigvalsh(gram)
    )
    values = singular_values(torch.ones(shape))  # all but one are 0, perhaps a little less
    assert values.isfinite().all() and values[0].item() == pytest.approx(480**0.5)
    assert asked == [(12, 12)] * 2
