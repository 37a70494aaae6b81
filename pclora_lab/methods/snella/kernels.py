r"""Kernelized merging of two thin factors into a full matrix, and what keeps it sparse.

SNELL (arXiv:2411.01800) and SNELLA (arXiv:2510.24037) replace LoRA's product by a kernel between
the rows of two factors, so that the merged matrix can have full rank, and then let its entries
compete: only those above a quantile of their magnitude stay.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["KERNELS", "SPARSIFIERS", "kept_entries", "merge_factors", "sparsify"]

KERNELS = ("piecewise_linear", "mixed", "linear", "rbf", "sigmoid")
SPARSIFIERS = ("squared", "soft", "mask")


Scalar = float | Tensor


def merge_factors(
    A: Tensor,
    B: Tensor,
    kernel: str = "piecewise_linear",
    *,
    coefficients: tuple[float, float] = (0.1, -0.1),
    alpha: Scalar = 1.0,
    gamma: Scalar = 1.0,
    beta: Scalar = 0.0,
) -> Tensor:
    r"""Merge two factors into one matrix, entry by entry through a kernel of their rows.

    ====================  ==========================================================
    ``linear``            ``M_ij = Σ_g ⟨A^g_i, B^g_j⟩``, LoRA's product at rank r
    ``piecewise_linear``  ``D_ij = Σ_g c_g ‖A^g_i − B^g_j‖₂``
    ``mixed``             ``M = D + α · softmax(D/γ over out) + β``
    ``rbf``               ``M_ij = Σ_g c_g exp(−γ ‖A^g_i − B^g_j‖²)``
    ``sigmoid``           ``M_ij = Σ_g c_g tanh(γ ⟨A^g_i, B^g_j⟩ + β)``
    ====================  ==========================================================

    The form of rbf and sigmoid is our choice: SNELL names them, but we found no formula. Where
    two rows coincide, a distance passes them no gradient. Half precision is computed in float32.

    Args:
        A: ``(2, in_features, rank / 2)``.
        B: ``(2, out_features, rank / 2)``.
        kernel: one of :data:`KERNELS`.
        coefficients: c₁ and c₂ of the two halves; ``linear`` has none.
        alpha: α, a number or a 0-dim tensor that may take gradient; ``mixed`` only.
        gamma: γ, likewise; not ``linear`` and ``piecewise_linear``.
        beta: β, likewise; ``mixed`` and ``sigmoid``.

    Returns:
        M, ``(in_features, out_features)``.

    Raises:
        ValueError: unknown kernel, or shapes that do not fit together.

    Source:
        SNELL's code, which fixes the coefficients that the paper calls learnable; ``mixed``:
        SNELLA, where α, γ, β are learned per layer.

    Example:
        >>> A = torch.tensor([[[0.0, 0.0]], [[0.0, 0.0]]])
        >>> B = torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]]])
        >>> merge_factors(A, B, coefficients=(1.0, -1.0)).item()
        3.0
    """
    check_choice("kernel", kernel, KERNELS)
    if A.ndim != 3 or B.ndim != 3 or (A.shape[0], B.shape[0], A.shape[2]) != (2, 2, B.shape[2]):
        raise ValueError(
            f"factors {tuple(A.shape)} and {tuple(B.shape)} do not fit: both are two halves of one "
            "rank; pass A (2, in_features, rank/2) and B (2, out_features, rank/2)"
        )
    return merge_pairs(A, B, kernel, (alpha, gamma, beta), coefficients, axis=1).to(A.dtype)


def merge_pairs(
    P: Tensor,
    Q: Tensor,
    kernel: str,
    scalars: tuple[Scalar, Scalar, Scalar] = (1.0, 1.0, 0.0),
    coefficients: tuple[float, float] = (0.1, -0.1),
    *,
    axis: int,
) -> Tensor:
    """The kernel between rows of P ``(2, p, k)`` and Q ``(2, q, k)``: ``(p, q)``, at least float32.

    Either factor may be P: a layer builds Mᵀ, like its weight. ``axis`` counts the outputs.
    """
    dtype = torch.promote_types(P.dtype, torch.float32)
    P, Q = P.to(dtype), Q.to(dtype)
    alpha, gamma, beta = scalars
    c1, c2 = coefficients
    with full_precision(P.device):
        if kernel == "linear":
            return torch.cat((P[0], P[1]), 1) @ torch.cat((Q[0], Q[1]), 1).T
        if kernel in ("rbf", "sigmoid"):
            pairs = zip(P, Q, strict=True)
            if kernel == "rbf":
                first, second = (torch.exp(-gamma * squared_distances(p, q)) for p, q in pairs)
            else:
                first, second = (torch.tanh(gamma * (p @ q.T) + beta) for p, q in pairs)
            return c1 * first + c2 * second
        D = _Distances.apply(P, Q, c1, c2)
        return D if kernel == "piecewise_linear" else D + alpha * (D / gamma).softmax(axis) + beta


def squared_distances(P: Tensor, Q: Tensor) -> Tensor:
    """``‖p‖² + ‖q‖² − 2⟨p, q⟩`` between rows, at least 0: ``(p, k), (q, k) → (p, q)``."""
    # The norms stay out of the product, which a GPU may compute in TF32.
    norms = P.square().sum(1)[:, None] + Q.square().sum(1)
    return norms.addmm_(P, Q.T, alpha=-2).clamp_min_(0)


class _Distances(torch.autograd.Function):
    """``Σ_g c_g ‖P^g_i − Q^g_j‖``. Only the factors are kept; the distances are made again."""

    @staticmethod
    def forward(ctx: Any, P: Tensor, Q: Tensor, c1: float, c2: float) -> Tensor:
        ctx.save_for_backward(P, Q)
        ctx.coefficients = (c1, c2)
        first, second = (squared_distances(p, q).sqrt_() for p, q in zip(P, Q, strict=True))
        return first.mul_(c1).add_(second, alpha=c2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_P, grad_Q = [], []
        with full_precision(grad.device):
            for p, q, c in zip(*ctx.saved_tensors, ctx.coefficients, strict=True):
                # Only 1/0 becomes 0: an infinite gradient must stay visible to the loop.
                W = squared_distances(p, q).rsqrt_().nan_to_num_(math.nan, 0.0).mul_(grad)
                grad_P.append(c * _pull(W, p, q))
                grad_Q.append(c * _pull(W.T, q, p))
        return torch.stack(grad_P), torch.stack(grad_Q), None, None


def _pull(W: Tensor, P: Tensor, Q: Tensor) -> Tensor:
    # Σ_j W_ij (P_i − Q_j), the row sums of W taken along in the product.
    summed = W @ torch.cat((Q, torch.ones_like(Q[:, :1])), 1)
    return P * summed[:, -1:] - summed[:, :-1]


def sparsify(M: Tensor, sparsity: float, sparsifier: str = "squared") -> Tensor:
    r"""Keep the entries of a matrix whose magnitude is above the ``sparsity`` quantile t of all.

    ===========  ======================  ====================================================
    ``squared``  ``M·|M|`` if |M| > t    SNELL's code; |M| takes no gradient, so this is half
                                         the gradient of M·|M|
    ``soft``     ``M·max(|M| − t, 0)``   the paper's eq. 5; |M| takes gradient, t does not,
                                         since a quantile rests on one or two entries
    ``mask``     ``M`` if |M| > t        a plain mask, for comparison
    ===========  ======================  ====================================================

    Args:
        M: any shape, n entries.
        sparsity: s in [0, 1]. 0 keeps everything, 1 nothing; in between :func:`kept_entries`
            stay, fewer only where magnitudes tie.
        sparsifier: one of :data:`SPARSIFIERS`.

    Returns:
        S, the shape of M.

    Raises:
        ValueError: sparsity outside [0, 1] or unknown rule.

    Example:
        >>> sparsify(torch.tensor([1.0, -2.0, 3.0, -4.0]), 0.5).tolist()
        [0.0, -0.0, 9.0, -16.0]
    """
    check_choice("sparsifier", sparsifier, SPARSIFIERS)
    threshold = find_threshold(M, check_sparsity(sparsity), sparsifier)
    if sparsifier == "soft":
        return M * F.relu(M.abs() - threshold)
    return M * rule_factors(M, threshold, sparsifier)[0]


def find_threshold(M: Tensor, sparsity: float, sparsifier: str) -> Tensor:
    """What |M| has to exceed, 0-dim: the quantile of ``soft``, else its lower neighbor in |M|.

    Both select the same entries, but rounding can lift an interpolated value onto the entry
    above it.
    """
    if sparsity == 0:
        return M.new_full((), 0.0 if sparsifier == "soft" else -1.0)
    low, share = _position(sparsity, M.numel())
    flat = M.detach().abs().flatten()
    if M.is_cpu and not torch.compiler.is_compiling():
        # A tenth of the time of torch.kthvalue, as long as it is asked for one position.
        flat = flat.to(torch.promote_types(M.dtype, torch.float32))
        flat.numpy().partition(low)
        below, above = flat[low], flat[low + 1 :]
        above = above.min() if sparsifier == "soft" and share > 0 else below
    else:
        below = flat.kthvalue(low + 1).values
        above = flat.kthvalue(low + 2).values if sparsifier == "soft" and share > 0 else below
    return torch.lerp(below, above, share).to(M.dtype)


def rule_factors(M: Tensor, threshold: Tensor, sparsifier: str) -> tuple[Tensor, Tensor]:
    """f and f′, shaped like M, with ``S = M·f`` and ``∂S/∂M = f′``; one tensor where equal."""
    # In place, and the mask in M's own dtype: bool and fresh matrices are slow on the CPU.
    magnitude = M.detach().abs()
    if sparsifier == "soft":
        f = F.relu(magnitude - threshold)
        return f, magnitude.mul_(f.sign()).add_(f)
    keep = magnitude.gt_(threshold)
    f = keep if sparsifier == "mask" else keep.mul_(M.detach()).abs_()
    return f, f


def kept_entries(sparsity: float, entries: int) -> int:
    """How many of n entries a sparsity keeps: ``n − 1 − ⌊s(n − 1)⌋``, and all n at s = 0.

    Example:
        >>> kept_entries(0.9, 768 * 3072), kept_entries(0.0, 100)
        (235930, 100)
    """
    return entries if sparsity == 0 else entries - 1 - _position(sparsity, entries)[0]


def _position(sparsity: float, entries: int) -> tuple[int, float]:
    position = sparsity * (entries - 1)
    return math.floor(position), position - math.floor(position)


def full_precision(device: torch.device) -> AbstractContextManager:
    """Autocast switched off, on every device that has it."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def check_sparsity(sparsity: float) -> float:
    """The sparsity as a float, if it lies in [0, 1]."""
    if not 0 <= sparsity <= 1:
        raise ValueError(
            f"sparsity {sparsity} is not in [0, 1]: it is the share of entries set to 0; 0.9 keeps "
            "a tenth of them"
        )
    return float(sparsity)


def check_choice(what: str, name: str, names: tuple[str, ...]) -> None:
    """Raise unless the name is one of the names."""
    if name not in names:
        raise ValueError(f"unknown {what} {name!r}: use one of {', '.join(names)}")
