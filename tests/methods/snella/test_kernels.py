"""Every kernel and sparsifier against numpy in float64, and their gradients by differences."""

import numpy as np
import pytest
import torch

from pclora_lab.methods.snella.kernels import KERNELS, merge_factors
from pclora_lab.methods.snella.kernels import SCALARS as STARTS
from pclora_lab.methods.snella.sparsifiers import (
    SPARSIFIERS,
    find_threshold,
    kept_entries,
    sparsify,
)

IN, OUT, HALF = 6, 9, 2
SCALARS = {"alpha": 0.7, "gamma": 1.3, "beta": 0.2}
COEFFICIENTS = (0.3, -0.2)


def factors(dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, IN, HALF), (2, OUT, HALF))
    A, B = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return A.to(dtype), B.to(dtype)


def numpy_merge(A, B, kernel, alpha, gamma, beta) -> np.ndarray:
    """The formulas of merge_factors, pair by pair."""
    M = np.zeros((A.shape[1], B.shape[1]))
    for c, a, b in zip((1, 1) if kernel == "linear" else COEFFICIENTS, A, B, strict=True):
        for i, j in np.ndindex(*M.shape):
            distance = np.sqrt(((a[i] - b[j]) ** 2).sum())
            M[i, j] += (
                c
                * {
                    "linear": a[i] @ b[j],
                    "piecewise_linear": distance,
                    "mixed": distance,
                    "rbf": np.exp(-gamma * distance**2),
                    "sigmoid": np.tanh(gamma * (a[i] @ b[j]) + beta),
                }[kernel]
            )
    if kernel == "mixed":
        powers = np.exp(M / gamma)
        M = M + alpha * powers / powers.sum(1, keepdims=True) + beta
    return M


def numpy_rule(M: np.ndarray, t: float, sparsifier: str) -> np.ndarray:
    kept = np.abs(M) > t
    return {"squared": M * np.abs(M), "soft": M * (np.abs(M) - t), "mask": M}[sparsifier] * kept


@pytest.mark.parametrize("kernel", KERNELS)
def test_merge_equals_the_formula(kernel):
    A, B = factors()
    want = torch.as_tensor(numpy_merge(A.numpy(), B.numpy(), kernel, **SCALARS))
    scalars = {name: torch.tensor(value) for name, value in SCALARS.items()}
    for given, tolerance in ((SCALARS, 1e-12), (scalars, 1e-6)):
        M = merge_factors(A, B, kernel, coefficients=COEFFICIENTS, **given)
        torch.testing.assert_close(M, want, atol=tolerance, rtol=tolerance)
    M = merge_factors(A.float(), B.float(), kernel, coefficients=COEFFICIENTS, **SCALARS)
    torch.testing.assert_close(M.double(), want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", KERNELS)
def test_half_precision_is_rounded_only_at_the_end(kernel, dtype):
    A, B = factors(dtype)
    exact = merge_factors(A.double(), B.double(), kernel)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        M = merge_factors(A.requires_grad_(), B, kernel)
    torch.testing.assert_close(M, exact.to(dtype), atol=1e-6, rtol=torch.finfo(dtype).eps)
    sparsify(M, 0.5).sum().backward()
    assert A.grad.dtype == dtype and A.grad.isfinite().all() and A.grad.abs().sum() > 0


@pytest.mark.parametrize("sparsity", [0.0, 0.01, 0.31, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
def test_sparsify_equals_the_formula(sparsifier, sparsity):
    M = torch.randn(7, 11, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    t = np.quantile(np.abs(M.numpy()), sparsity) if sparsity else 0.0
    S = sparsify(M.T, sparsity, sparsifier).T
    torch.testing.assert_close(S, torch.as_tensor(numpy_rule(M.numpy(), t, sparsifier)))
    if sparsifier != "soft":
        assert S.count_nonzero() == kept_entries(sparsity, M.numel())


def test_sparsity_zero_keeps_a_zero_entry_and_its_gradient():
    M = torch.tensor([0.0, 1.0], requires_grad=True)
    sparsify(M, 0.0, "mask").sum().backward()
    assert M.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_interpolated_threshold_is_numpys_quantile(dtype):
    M = torch.randn(501, generator=torch.Generator().manual_seed(4)).to(dtype)
    want = np.quantile(M.abs().double().numpy(), 0.777)
    got = find_threshold(M, 0.777, "soft")
    assert got.dtype == dtype
    assert got.item() == pytest.approx(want, rel=torch.finfo(dtype).eps)


def test_large_matrices_keep_the_exact_number():
    entries = 768 * 3072  # a position among them needs more than float32's digits
    M = torch.arange(1, entries + 1, dtype=torch.float32)
    for sparsity in (0.9, 1 - 5 / entries, 3 / entries):
        kept = int((sparsify(M, sparsity, "mask") > 0).sum())
        assert kept == kept_entries(sparsity, entries)


@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_equal_central_differences_at_a_fixed_threshold(kernel, sparsifier):
    A, B = factors()
    inputs = [A, B, *(torch.tensor(value, dtype=torch.float64) for value in SCALARS.values())]
    inputs = [value.requires_grad_() for value in inputs]
    pull = torch.randn(IN, OUT, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def merge(A, B, *scalars):
        named = dict(zip(SCALARS, scalars, strict=True))
        return merge_factors(A, B, kernel, coefficients=COEFFICIENTS, **named)

    M = merge(*inputs)
    t = np.quantile(M.detach().abs().numpy(), 0.6)
    (sparsify(M, 0.6, sparsifier) * pull).sum().backward()

    def loss(values: list[np.ndarray]) -> float:
        return (
            numpy_rule(numpy_merge(values[0], values[1], kernel, *values[2:]), t, sparsifier)
            * pull.numpy()
        ).sum()

    values = [value.detach().numpy().copy() for value in inputs]
    # The code's own sparsifier: |M| takes no gradient, which leaves half of that of M·|M|.
    share = 0.5 if sparsifier == "squared" else 1.0
    for value, tensor in zip(values, inputs, strict=True):
        want = share * differences(loss, values, value)
        got = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        np.testing.assert_allclose(got.numpy(), want, atol=1e-8, rtol=1e-6)


def differences(loss, values: list[np.ndarray], value: np.ndarray, h=1e-6) -> np.ndarray:
    """(loss(v + h) − loss(v − h)) / 2h for each entry of one of the values."""
    slopes = np.zeros_like(value)
    for index in np.ndindex(*value.shape):
        kept, sides = value[index], []
        for step in (h, -h):
            value[index] = kept + step
            sides.append(loss(values))
        value[index] = kept
        slopes[index] = (sides[0] - sides[1]) / (2 * h)
    return slopes


@pytest.mark.parametrize("kernel", ["piecewise_linear", "mixed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_that_coincide_pull_on_nothing(kernel, dtype):
    A = torch.tensor([1.0, 2.0], dtype=dtype).expand(2, 1, 2).clone().requires_grad_()
    B = A.detach().clone().requires_grad_()
    merge_factors(A, B, kernel, coefficients=(0.1, 0.1)).sum().backward()
    for factor in (A, B):
        assert torch.equal(factor.grad, torch.zeros_like(factor))


def test_a_gradient_that_is_not_finite_stays_visible():
    A, B = (factor.requires_grad_() for factor in factors())
    grad = torch.zeros(IN, OUT, dtype=torch.float64)
    grad[0, 0] = torch.inf
    merge_factors(A, B).backward(grad)
    assert not A.grad.isfinite().all() and not B.grad.isfinite().all()
    broken = torch.full_like(A, torch.nan)
    (grad,) = torch.autograd.grad(merge_factors(broken, B).sum(), B)
    assert grad.isnan().all()


def test_merging_keeps_only_the_factors_for_the_backward_pass():
    A, B = (factor.requires_grad_() for factor in factors())
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor):
        merge_factors(A, B)
    assert [tensor.shape for tensor in kept] == [A.shape, B.shape]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda A, B: merge_factors(A, B, "cubic"), "unknown kernel 'cubic': use one of piecewise"),
        (lambda A, B: merge_factors(A, B[..., :1]), r"\(2, 6, 2\) and \(2, 9, 1\) do not fit"),
        (lambda A, B: merge_factors(A[:1], B[:1]), r"pass A \(2, in_features, rank/2\)"),
        (lambda A, B: merge_factors(A[0], B[0]), "do not fit"),
        (
            lambda A, B: sparsify(A, 0.5, "hard"),
            "unknown sparsifier 'hard': use one of squared, soft",
        ),
        (lambda A, B: sparsify(A, 1.5), r"sparsity 1.5 is not in \[0, 1\]"),
        (lambda A, B: sparsify(A, -0.1), r"sparsity -0.1 is not in \[0, 1\]"),
        (lambda A, B: sparsify(A, float("nan")), r"sparsity nan is not in \[0, 1\]"),
    ],
)
def test_errors_name_the_value_and_the_cure(call, message):
    with pytest.raises(ValueError, match=message):
        call(*factors())


def test_a_gradient_of_the_gradient_is_refused_and_never_wrong():
    """The backward pass makes its matrix again, by operations that nobody differentiates."""
    A, B = (factor.requires_grad_() for factor in factors())
    merged = merge_factors(A, B, "rbf", coefficients=COEFFICIENTS, **SCALARS)
    (first,) = torch.autograd.grad((merged**2).sum(), A, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        first.sum().backward()


@pytest.mark.parametrize("kernel", KERNELS)
def test_unless_told_otherwise_scalars_are_a_new_layers_and_halves_weigh_a_tenth(kernel):
    A, B = factors()
    given = {"coefficients": (0.1, -0.1), **STARTS.get(kernel, {})}
    assert torch.equal(merge_factors(A, B, kernel), merge_factors(A, B, kernel, **given))
    assert torch.equal(merge_factors(A, B), merge_factors(A, B, "piecewise_linear"))


@pytest.mark.parametrize("cut", [lambda A, B: (A[0], B), lambda A, B: (A, B[0])])
def test_one_factor_of_the_wrong_kind_is_enough_to_be_refused(cut):
    with pytest.raises(ValueError, match=r"do not fit: both are two halves of one rank"):
        merge_factors(*cut(*factors()))
