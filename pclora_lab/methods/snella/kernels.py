r"""Kernelized merging of two thin factors into a full matrix.

SNELL (arXiv:2411.01800) and SNELLA (arXiv:2510.24037) replace LoRA's product by a kernel between
the rows of two factors, so that the merged matrix can have full rank.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pclora_lab.methods.snella.choices import KERNELS, check_choice
from pclora_lab.methods.snella.pairs import Pairs, merge, pull
from pclora_lab.nn.layers.precision import autocast_off

__all__ = ["KERNELS", "SCALARS", "merge_factors"]

# What a kernel takes besides the factors, and a layer's values of it.
SCALARS: dict[str, dict[str, float]] = {
    "mixed": {"alpha": 1.0, "gamma": 1.0, "beta": 0.0},
    "rbf": {"gamma": 1.0},
    "sigmoid": {"gamma": 1.0, "beta": 0.0},
}

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
    dtype = torch.promote_types(A.dtype, torch.float32)
    given = {"alpha": alpha, "gamma": gamma, "beta": beta}
    scalars = [_as_tensor(given[name], A.device, dtype) for name in SCALARS.get(kernel, ())]
    return _Merge.apply(kernel, coefficients, A.to(dtype), B.to(dtype), *scalars).to(A.dtype)


def _as_tensor(scalar: Scalar, device: torch.device, dtype: torch.dtype) -> Tensor:
    if isinstance(scalar, Tensor):
        return scalar.to(device, dtype)
    return torch.full((), scalar, device=device, dtype=dtype)


class _Merge(torch.autograd.Function):
    """Only the factors and scalars are kept; everything else is made again."""

    @staticmethod
    def forward(
        ctx: Any, kernel: str, coefficients: tuple, A: Tensor, B: Tensor, *scalars: Tensor
    ) -> Tensor:
        ctx.how = kernel, coefficients
        ctx.save_for_backward(A, B, *scalars)
        with autocast_off(A.device):
            return merge(kernel, Pairs(A, B, scalars, coefficients, axis=1))[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        kernel, coefficients = ctx.how
        A, B, *scalars = ctx.saved_tensors
        pairs = Pairs(A, B, tuple(scalars), coefficients, axis=1)
        with autocast_off(grad.device):
            return None, None, *pull(kernel, pairs, merge(kernel, pairs)[1], grad)
