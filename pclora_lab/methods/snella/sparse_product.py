"""The product with a frozen weight and a sparse matrix that is made for it, and made again."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pclora_lab.methods.snella.kernels import SCALARS
from pclora_lab.methods.snella.pairs import Made, Pairs, merge, pull
from pclora_lab.methods.snella.sparsifiers import (
    compiled_threshold,
    rule_factors,
    threshold_of,
)
from pclora_lab.nn.layers.precision import autocast_off

__all__ = ["Recipe", "SparseProduct", "sparse_matrix"]


class Recipe(NamedTuple):
    """How factors become a sparse matrix."""

    kernel: str
    sparsifier: str


def sparse_matrix(recipe: Recipe, sparsity: float | Tensor, trained: tuple[Tensor, ...]) -> Tensor:
    """Sᵀ ``(out_features, in_features)``, at least float32, of A, B and scalars."""
    M, factor, _ = _forward(recipe, sparsity, trained)
    return M.mul_(factor)


class SparseProduct(torch.autograd.Function):
    """``x (W₀ + Sᵀ)ᵀ + b`` as one product; keeps x, the factors and a 0-dim threshold.

    The sparsity is a number, or a tensor on the CPU where this is compiled.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, recipe: Recipe, sparsity: float | Tensor, *tensors: Tensor | None
    ) -> Tensor:
        weight, bias, *rest = tensors
        trained = tuple(tensor for tensor in rest if tensor is not None)
        M, factor, threshold = _forward(recipe, sparsity, trained)
        ctx.recipe = recipe
        # With the threshold, the backward pass needs no search of its own.
        ctx.save_for_backward(x, weight, threshold, *trained)
        matrix = _with_base(weight, M, factor).to(x.dtype)
        return F.linear(x, matrix, None if bias is None else bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, threshold, *trained = ctx.saved_tensors
        recipe, needed = ctx.recipe, ctx.needs_input_grad
        with autocast_off(x.device):
            pairs = _pairs(recipe, trained)
            M, made = merge(recipe.kernel, pairs)
            factor, slope = rule_factors(M.abs(), threshold, recipe.sparsifier)
            of_x = None
            if needed[0]:
                of_x = grad @ _with_base(weight, M, factor).to(grad.dtype)
            if not any(needed[5:]):
                return of_x, *(None for _ in needed[1:])
            dtype = M.dtype
            del M, factor  # a matrix each, for which room is made below
            of_S = grad.reshape(-1, grad.shape[-1]).T @ x.reshape(-1, x.shape[-1])
            of_M = of_S.to(dtype).mul_(slope)
            del of_S, slope
            of_trained = _of_trained(recipe.kernel, pairs, made, of_M, trained)
        return of_x, None, None, None, None, *of_trained


def _forward(
    recipe: Recipe, sparsity: float | Tensor, trained: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Mᵀ, the factor that makes Sᵀ of it, and the threshold."""
    with autocast_off(trained[0].device):
        M = merge(recipe.kernel, _pairs(recipe, trained))[0]
        magnitude = M.abs()
        if isinstance(sparsity, Tensor):
            threshold = compiled_threshold(magnitude, sparsity, recipe.sparsifier)
        else:
            threshold = threshold_of(magnitude, sparsity, recipe.sparsifier)
        return M, rule_factors(magnitude, threshold, recipe.sparsifier)[0], threshold


def _pairs(recipe: Recipe, trained: tuple[Tensor, ...] | list[Tensor]) -> Pairs:
    # Mᵀ, in the layout of the weight: its rows are B's.
    A, B, *scalars = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in trained)
    return Pairs(B, A, tuple(scalars or SCALARS.get(recipe.kernel, {}).values()), axis=0)


def _with_base(weight: Tensor | None, M: Tensor, factor: Tensor) -> Tensor:
    return M * factor if weight is None else torch.addcmul(weight, M, factor)


def _of_trained(
    kernel: str, pairs: Pairs, made: Made, of_M: Tensor, trained: list[Tensor]
) -> list[Tensor | None]:
    of_B, of_A, *of_scalars = pull(kernel, pairs, made, of_M)
    # Scalars that are no parameters of the layer have a gradient that nobody wants.
    wanted = (of_A, of_B, *of_scalars)[: len(trained)]
    return [
        None if found is None else found.to(tensor.dtype)
        for found, tensor in zip(wanted, trained, strict=True)
    ]
