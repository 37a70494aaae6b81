"""Scores of the tasks here, over all examples of a split."""

import torch
from torch import Tensor

__all__ = ["average_precision", "spearman"]


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation ρ: Pearson's of the ranks; 0 where one of the two is constant.

    Args:
        first: numbers ``(examples,)``.
        second: numbers ``(examples,)``.

    Example:
        >>> round(spearman(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([4.0, 6.0, 5.0])).item(), 6)
        0.5
    """
    a, b = (_ranks(values) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    both = (a * b).sum()
    size = (a.square().sum() * b.square().sum()).sqrt()
    return torch.where(size > 0, both / size.clamp(min=1e-12), torch.zeros_like(both))


def average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    """``AP = Σₙ (Rₙ − Rₙ₋₁) Pₙ`` down the ranking; NaN where nothing is to be found.

    P and R are precision and recall among the examples that score at least the n-th different
    score, so examples of one score count together. Nothing is interpolated.

    Args:
        scores: one for each example, ``(examples,)``.
        targets: 1 for an example that is to be found, else 0, ``(examples,)``.

    Example:
        >>> round(average_precision(torch.arange(3.0), torch.tensor([1, 0, 1])).item(), 4)
        0.8333
    """
    order = scores.argsort(descending=True)
    found = targets[order].double().cumsum(0)
    seen = torch.arange(1, len(order) + 1, device=scores.device).double()
    # The last example of each score.
    ends = torch.ones_like(seen, dtype=torch.bool)
    ends[:-1] = scores[order][1:] != scores[order][:-1]
    precision, recall = (found / seen)[ends], (found / found[-1])[ends]
    gained = recall.diff(prepend=recall.new_zeros(1))
    return (gained * precision).sum()


def _ranks(values: Tensor) -> Tensor:
    """From 1, float64; equal numbers share the mean of theirs."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[inverse]
