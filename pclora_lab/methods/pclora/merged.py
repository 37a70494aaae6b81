"""One product with a faded base and its adapter at once, for many tokens."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pclora_lab.nn.layers.precision import autocast_off, in_autocast

__all__ = ["merged_linear", "merging_pays"]


def merging_pays(tokens: int, in_features: int, out_features: int) -> bool:
    """Whether ``λW + BA`` is made sooner than all tokens pass through A and B.

    Making it takes ``out·in·r`` multiplications and saves ``tokens·r·(in + out)``, so the rank
    does not matter.

    Args:
        tokens: of the batch, all together.
        in_features: width of the input.
        out_features: width of the output.

    Example:
        >>> merging_pays(197, 768, 768), merging_pays(8 * 197, 768, 768)
        (False, True)
    """
    return tokens * (in_features + out_features) >= in_features * out_features


def merged_linear(
    x: Tensor,
    weight: Tensor,
    lam: Tensor,
    A: Tensor,
    B: Tensor,
    bias: Tensor,
    start: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    r"""A faded linear layer as one product; keeps x for the backward pass and nothing of its size.

    .. math:: y = x M^T + c, \qquad M = λ (W - B_0 A_0) + B A

    A and B get their gradients through the rank: :math:`∇B = g^T (x A^T)` and
    :math:`∇A = (g B)^T x` for a gradient g of y. M is made in at least float32, once for each
    direction, so that a small adapter isn't rounded away beside W in half precision.

    Args:
        x: ``(batch, tokens, in_features)``; any leading dimensions.
        weight: W, ``(out_features, in_features)``; it takes no gradient.
        lam: λ, 0-dim; likewise.
        A: ``(rank, in_features)``.
        B: ``(out_features, rank)``.
        bias: c, ``(out_features,)``.
        start: A₀ and B₀, shaped like A and B, which take no gradient.

    Returns:
        y, ``(batch, tokens, out_features)``, in the precision of autocast or else of x.

    Example:
        >>> W, A, B = torch.eye(2), torch.ones(1, 2), torch.ones(2, 1)
        >>> x, zero = torch.tensor([[1.0, 2.0]]), torch.zeros(2)
        >>> merged_linear(x, W, torch.tensor(0.5), A, B, zero)
        tensor([[3.5000, 4.0000]])
    """
    A0, B0 = (None, None) if start is None else start
    rows = in_autocast(x).reshape(-1, x.shape[-1])
    made = _MergedLinear.apply(rows, A, B, bias, weight, lam, A0, B0)
    # No view, as with F.linear: a model may change it in place, and hooks on it stay.
    return torch.ops.aten._unsafe_view(made, [*x.shape[:-1], made.shape[-1]])


class _MergedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, A: Tensor, B: Tensor, bias: Tensor, *faded: Any) -> Tensor:
        ctx.save_for_backward(x, A, B, *faded)
        with autocast_off(x.device):
            return F.linear(x, _merge(A, B, *faded).to(x.dtype), bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, A, B, *faded = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        grad_A = grad_B = grad_bias = grad_x = None
        with autocast_off(x.device):
            if wanted[1]:
                grad_A = ((grad @ B.to(grad.dtype)).T @ x).to(A.dtype)
            if wanted[2]:
                grad_B = (grad.T @ (x @ A.to(x.dtype).T)).to(B.dtype)
            if wanted[3]:
                grad_bias = grad.sum(0, dtype=B.dtype)
            if wanted[0]:
                grad_x = grad @ _merge(A, B, *faded).to(grad.dtype)
        return grad_x, grad_A, grad_B, grad_bias, None, None, None, None


def _merge(
    A: Tensor, B: Tensor, weight: Tensor, lam: Tensor, A0: Tensor | None, B0: Tensor | None
) -> Tensor:
    # One pass over W: the start is taken along in the adapter's product, at twice the rank.
    dtype = torch.promote_types(weight.dtype, torch.float32)
    lam, A, B = lam.to(dtype), A.to(dtype), B.to(dtype)
    if A0 is not None and B0 is not None:
        A, B = torch.cat((A, A0.to(dtype))), torch.cat((B, -lam * B0.to(dtype)), dim=1)
    return (lam * weight.to(dtype)).addmm_(B, A)
