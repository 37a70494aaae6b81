"""A training loop in plain torch, with an AdamW of its own: what the package's is held against."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Loss = Callable[[Mapping[str, Tensor], Tensor, Tensor, int], Tensor]
_BETAS, _EPS = (0.9, 0.999), 1e-8


def rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Rises in a line over the warm-up, then falls along half a cosine."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def trained(
    start: Mapping[str, Tensor],
    loss: Loss,
    batches: Sequence[tuple[Tensor, Tensor]],
    *,
    lr: float,
    warmup: float,
    weight_decay: float,
    grad_clip: float,
) -> dict[str, Tensor]:
    """The tensors after one step for each batch.

    Args:
        start: what is trained, by name.
        loss: of tensors, inputs, labels and the step's number.
        batches: inputs and labels of every step.
        lr: peak learning rate.
        warmup: share of the steps in which it rises.
        weight_decay: of matrices; vectors have none.
        grad_clip: largest norm of all gradients together.
    """
    now = {name: x.detach().clone().requires_grad_() for name, x in start.items()}
    first = {name: torch.zeros_like(x) for name, x in now.items()}
    second = {name: torch.zeros_like(x) for name, x in now.items()}
    for step, (inputs, labels) in enumerate(batches):
        value = loss(now, inputs, labels, step)
        gradients = torch.autograd.grad(value, list(now.values()), allow_unused=True)
        known = {n: g for n, g in zip(now, gradients, strict=True) if g is not None}
        norm = torch.sqrt(sum(g.square().sum() for g in known.values()))
        share = min(1.0, grad_clip / (float(norm) + 1e-6))
        eta = rate(step, len(batches), lr, warmup)
        with torch.no_grad():
            for name, gradient in known.items():
                g, x = share * gradient, now[name]
                if x.ndim >= 2:
                    x -= eta * weight_decay * x
                first[name].mul_(_BETAS[0]).add_((1 - _BETAS[0]) * g)
                second[name].mul_(_BETAS[1]).add_((1 - _BETAS[1]) * g * g)
                mean = first[name] / (1 - _BETAS[0] ** (step + 1))
                power = second[name] / (1 - _BETAS[1] ** (step + 1))
                x -= eta * mean / (power.sqrt() + _EPS)
    return {name: x.detach() for name, x in now.items()}
