r"""Kernels between the rows of two factors: the merged matrix, and what its gradient pulls on.

Written out instead of left to autograd, which would keep the matrices. A backward pass that needs
the merged matrix again also has what was made on the way, such as the distances, and the gradient
rests on the same values: one :func:`merge` serves both, and :func:`pull` uses up what it made.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Pairs", "merge", "pull", "squared_distances"]

Made = tuple[Tensor, ...]
Pulled = tuple[Tensor | None, ...]


class Pairs(NamedTuple):
    """What is merged.

    Args:
        P: ``(2, p, k)``, two halves of p rows, at least float32. Either factor may be P: a layer
            builds Mᵀ, like its weight.
        Q: ``(2, q, k)``.
        scalars: 0-dim tensors (α, γ, β) of ``mixed``; numbers or 0-dim tensors (γ,) of ``rbf``
            and (γ, β) of ``sigmoid``; else none.
        coefficients: c₁ and c₂ of the two halves.
        axis: of M that counts the outputs.
    """

    P: Tensor
    Q: Tensor
    scalars: tuple[Any, ...] = ()
    coefficients: tuple[float, float] = (0.1, -0.1)
    axis: int = 0


def merge(kernel: str, pairs: Pairs) -> tuple[Tensor, Made]:
    """M ``(p, q)``, and what was made on the way for :func:`pull`."""
    return _KERNELS[kernel][0](pairs)


def pull(kernel: str, pairs: Pairs, made: Made, grad: Tensor) -> Pulled:
    """Gradients of P, Q and scalars (None for a number) from that of M; overwrites ``made``."""
    return _KERNELS[kernel][1](pairs, made, grad)


def squared_distances(P: Tensor, Q: Tensor) -> Tensor:
    """``‖p‖² + ‖q‖² − 2⟨p, q⟩`` between rows, at least 0: ``(2, p, k), (2, q, k) → (2, p, q)``."""
    # The norms stay out of the product, which a GPU may compute in TF32.
    norms = P.square().sum(2, keepdim=True) + Q.square().sum(2).unsqueeze(1)
    return norms.baddbmm_(P, Q.mT, alpha=-2).clamp_min_(0)


def _distances(pairs: Pairs) -> Tensor:
    return squared_distances(pairs.P, pairs.Q).sqrt_()


def _weighted(halves: Tensor, coefficients: tuple[float, float]) -> Tensor:
    c1, c2 = coefficients
    return torch.mul(halves[0], c1).add_(halves[1], alpha=c2)


def _merge_distances(pairs: Pairs) -> tuple[Tensor, Made]:
    distances = _distances(pairs)
    return _weighted(distances, pairs.coefficients), (distances,)


def _pull_distances(pairs: Pairs, made: Made, grad: Tensor) -> Pulled:
    # Only 1/0 becomes 0: an infinite gradient must stay visible to the loop.
    distances = F.threshold(made[0], 0.0, math.inf, inplace=True)
    return _pull_apart(torch.div(grad, distances, out=distances), pairs)


def _pull_apart(W: Tensor, pairs: Pairs) -> Pulled:
    """``c_g Σ_j W^g_ij (P^g_i − Q^g_j)`` and the same for Q."""
    P, Q, _, (c1, c2), _ = pairs
    W[0].mul_(-c1)
    W[1].mul_(-c2)
    return _pull_one(W, P, Q), _pull_one(W.mT, Q, P)


def _pull_one(W: Tensor, P: Tensor, Q: Tensor) -> Tensor:
    # The row sums of W are taken along in the product. Few rows times many columns: the other way
    # round, a CPU takes four times as long.
    summed = F.pad(Q, (0, 1), value=1.0).mT @ W.mT
    products, sums = summed[:, :-1].mT, summed[:, -1:].mT
    return torch.addcmul(products, P, sums, value=-1, out=torch.empty_like(P))


def _merge_mixed(pairs: Pairs) -> tuple[Tensor, Made]:
    alpha, gamma, beta = pairs.scalars
    distances, (c1, c2) = _distances(pairs), pairs.coefficients
    # β comes first: it takes no pass of its own, and to a softmax it makes no difference.
    D = torch.add(beta, distances[0], alpha=c1).add_(distances[1], alpha=c2)
    scaled = D / gamma
    shares = scaled.softmax(pairs.axis)
    return D.addcmul_(shares, alpha), (distances, scaled, shares)


def _pull_mixed(pairs: Pairs, made: Made, grad: Tensor) -> Pulled:
    alpha, gamma, _ = pairs.scalars
    distances, scaled, shares = made
    in_softmax = torch._softmax_backward_data(grad, shares, pairs.axis, grad.dtype)
    ratio = alpha / gamma
    of_gamma = torch.dot(in_softmax.flatten(), scaled.flatten()).mul_(ratio).neg_()
    of_alpha = torch.dot(grad.flatten(), shares.flatten())
    of_D = torch.addcmul(grad, in_softmax, ratio)
    return *_pull_distances(pairs, (distances,), of_D), of_alpha, of_gamma, grad.sum()


def _merge_linear(pairs: Pairs) -> tuple[Tensor, Made]:
    joined = _joined(pairs.P), _joined(pairs.Q)
    return joined[0] @ joined[1].T, joined


def _pull_linear(pairs: Pairs, made: Made, grad: Tensor) -> Pulled:
    P, Q = made
    return _halves(grad @ Q, pairs.P), _halves(grad.T @ P, pairs.Q)


def _joined(factor: Tensor) -> Tensor:
    """Both halves side by side, ``(2, p, k) → (p, 2k)``."""
    return torch.cat((factor[0], factor[1]), 1)


def _halves(joined: Tensor, factor: Tensor) -> Tensor:
    return torch.stack(joined.split(factor.shape[2], 1))


def _merge_rbf(pairs: Pairs) -> tuple[Tensor, Made]:
    squared = squared_distances(pairs.P, pairs.Q)
    near = torch.exp(-pairs.scalars[0] * squared)
    return _weighted(near, pairs.coefficients), (squared, near)


def _pull_rbf(pairs: Pairs, made: Made, grad: Tensor) -> Pulled:
    (gamma,), (squared, near) = pairs.scalars, made
    W = near.mul_(grad)
    of_gamma = None
    if isinstance(gamma, Tensor):
        of_gamma = -_weighted(squared.mul_(W), pairs.coefficients).sum()
    return *_pull_apart(W.mul_(-2 * gamma), pairs), of_gamma


def _merge_sigmoid(pairs: Pairs) -> tuple[Tensor, Made]:
    gamma, beta = pairs.scalars
    products = pairs.P @ pairs.Q.mT
    bent = torch.tanh(gamma * products + beta)
    return _weighted(bent, pairs.coefficients), (products, bent)


def _pull_sigmoid(pairs: Pairs, made: Made, grad: Tensor) -> Pulled:
    P, Q, (gamma, beta), (c1, c2), _ = pairs
    products, bent = made
    V = (1 - bent.square_()).mul_(grad)
    V[0].mul_(c1)
    V[1].mul_(c2)
    of_gamma = products.mul_(V).sum() if isinstance(gamma, Tensor) else None
    of_beta = V.sum() if isinstance(beta, Tensor) else None
    return gamma * (V @ Q), gamma * (V.mT @ P), of_gamma, of_beta


_KERNELS: dict[str, tuple[Callable[[Pairs], tuple[Tensor, Made]], Callable[..., Pulled]]] = {
    "piecewise_linear": (_merge_distances, _pull_distances),
    "mixed": (_merge_mixed, _pull_mixed),
    "linear": (_merge_linear, _pull_linear),
    "rbf": (_merge_rbf, _pull_rbf),
    "sigmoid": (_merge_sigmoid, _pull_sigmoid),
}
