"""The theory of one layer against fits by alternating least squares in numpy, float64."""

import math

import numpy as np
import pytest
import torch

from pclora_lab.methods.factorization import affine_factors, truncation_error
from pclora_lab.methods.input_moments import InputMoments
from pclora_lab.methods.pclora.theory import best_fit_error, predicted_errors

OUT, IN, RANK = 7, 5, 2


def problem(*, plain: bool):
    """W, b and inputs: plain ones with mean 0, covariance I and no bias, or none of the three."""
    draw = np.random.default_rng(3)
    x, W, b = draw.normal(size=(200, IN)), draw.normal(size=(OUT, IN)), draw.normal(size=OUT)
    x = x - x.mean(0)
    if plain:
        return W, 0 * b, math.sqrt(len(x)) * np.linalg.svd(x, full_matrices=False)[0]
    return W, b, x @ draw.normal(size=(IN, IN)) + draw.normal(size=IN)


def fitted(x, y, rank):
    """``B A x + C`` closest to y: A, B and C in turns by least squares, from a random start."""
    A = np.random.default_rng(0).normal(size=(rank, x.shape[1]))
    one = np.ones((len(x), 1))
    for _ in range(3000):
        BC = np.linalg.lstsq(np.hstack((x @ A.T, one)), y, rcond=None)[0]
        B, C = BC[:-1].T, BC[-1]
        A = np.linalg.lstsq(B, np.linalg.lstsq(x, y - C, rcond=None)[0].T, rcond=None)[0]
    return B @ A, C


def moments_of(x):
    moments = InputMoments(x.shape[1])
    moments.update(torch.as_tensor(x))
    return moments


def tensors(*arrays):
    return [torch.as_tensor(array) for array in arrays]


@pytest.mark.parametrize("plain", [True, False], ids=["plain_inputs", "bias_and_real_inputs"])
@pytest.mark.parametrize("lam", [0.9, 0.5, 0.1, 0.0])
def test_the_errors_of_the_fitted_adapter_are_the_predicted_ones(lam, plain):
    W, b, x = problem(plain=plain)
    y = x @ W.T + b
    BA, C = fitted(x, (1 - lam) * y, RANK)
    adapter = x @ BA.T + C
    size = np.linalg.norm(y)
    measured = [np.linalg.norm(lam * y + adapter - y) / size, np.linalg.norm(adapter - y) / size]
    e = best_fit_error(*tensors(W, b), moments_of(x), RANK)
    assert predicted_errors(e, lam) == pytest.approx(measured, rel=1e-5)


@pytest.mark.parametrize("lam", [0.9, 0.1])
def test_the_best_adapter_is_one_minus_lambda_times_the_best_low_rank_layer(lam):
    W, b, x = problem(plain=False)
    BA, C = fitted(x, (1 - lam) * (x @ W.T + b), RANK)
    A, B, whole = affine_factors(*tensors(W, b), moments_of(x), RANK, damping=0)
    np.testing.assert_allclose(BA, (1 - lam) * (B @ A).numpy(), atol=1e-5)
    np.testing.assert_allclose(C, (1 - lam) * whole.numpy(), atol=1e-5)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("rank", [1, 3])
def test_affine_factors_are_what_least_squares_finds(rank, bias):
    W, b, x = problem(plain=False)
    BA, C = fitted(x, x @ W.T + bias * b, rank)
    A, B, ours = affine_factors(
        torch.as_tensor(W), torch.as_tensor(b) if bias else None, moments_of(x), rank, damping=0
    )
    np.testing.assert_allclose((B @ A).numpy(), BA, atol=1e-5)
    np.testing.assert_allclose(ours.numpy(), C, atol=1e-5)


def test_with_plain_inputs_the_weight_alone_gives_the_error():
    W, b, x = problem(plain=True)
    error = best_fit_error(torch.as_tensor(W), None, moments_of(x), RANK)
    values = torch.as_tensor(np.linalg.svd(W, compute_uv=False))
    assert error == pytest.approx(truncation_error(values, RANK), rel=1e-6)


def test_no_direction_of_a_circle_beats_eckart_and_young():
    """Brute force: all rank-1 matrices ``W v vᵀ`` of a matrix with two columns."""
    W = np.random.default_rng(1).normal(size=(4, 2))
    angles = np.linspace(0, math.pi, 20_001)
    v = np.stack((np.cos(angles), np.sin(angles)))
    errors = np.sqrt(1 - (np.linalg.norm(W @ v, axis=0) / np.linalg.norm(W)) ** 2)
    values = torch.as_tensor(np.linalg.svd(W, compute_uv=False).copy())
    assert truncation_error(values, 1) == pytest.approx(errors.min(), rel=1e-6)
    assert truncation_error(values.flip(0), 1) == truncation_error(values, 1)


def test_the_ends_are_exact():
    values = torch.tensor([3.0, 4.0])
    assert (truncation_error(values, 0), truncation_error(values, 2)) == (1.0, 0.0)
    assert truncation_error(values, 3) == truncation_error(torch.zeros(2), 1) == 0.0
    moments = moments_of(np.ones((3, 2)))
    assert best_fit_error(torch.zeros(2, 2), None, moments, 1) == 0.0
    # A constant input is met by C alone.
    assert best_fit_error(torch.eye(2), torch.ones(2), moments, 0) == 0.0


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: predicted_errors(1.2, 0.5), r"relative error is 1\.2: .* in \[0, 1\]"),
        (lambda: predicted_errors(math.nan, 0.5), "relative error is nan"),
        (lambda: predicted_errors(0.5, -0.1), r"λ is -0\.1: it must be in \[0, 1\]"),
        (lambda: truncation_error(torch.ones(2), -1), "rank -1 is negative"),
    ],
)
def test_what_can_not_be_is_refused(call, reason):
    with pytest.raises(ValueError, match=reason):
        call()
