"""A budget of weights: how it shrinks in training, and how it is split over layers."""

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite
from operator import add, sub

__all__ = ["allocate", "budget_at"]


def allocate(
    scores: Sequence[float], sizes: Sequence[int], budget: int, floor: int = 0
) -> list[int]:
    """Split a budget over layers in proportion to their scores, to the last weight.

    Every layer first gets the floor. Of the rest, a share above a layer's size goes to the layers
    that are not full, in proportion; once every layer with a score is full, to the others by
    size. Largest remainders round the exact fractions, ties to the first layer.

    Args:
        scores: one per layer, at least 0; all zero shares by size.
        sizes: weights of each layer.
        budget: weights to hand out; more than all sizes together fills every layer.
        floor: weights every layer gets at least, or its size if that is less.

    Returns:
        Counts, one per layer; their sum is ``min(budget, sum(sizes))``.

    Raises:
        ValueError: scores negative or not finite, lengths that differ, a budget that is no
            count or is below what the floor takes.

    Source:
        SNELLA, arXiv:2510.24037; the floor and the exact rounding are ours.

    Example:
        >>> allocate([8.0, 1.0, 1.0], [40, 100, 100], budget=100)
        [40, 30, 30]
    """
    _check_shares(scores, sizes)
    _check_count("budget", budget)
    _check_count("floor", floor)
    counts = [min(floor, size) for size in sizes]
    rest = min(budget, sum(sizes)) - sum(counts)
    if rest < 0:
        raise ValueError(
            f"budget {budget} cannot give {len(sizes)} layers a floor of {floor}: the smallest "
            f"possible budget is {sum(counts)}"
        )
    rooms = list(map(sub, sizes, counts))
    shares = _pour(rest, [Fraction(score) for score in scores], rooms)
    left = list(map(sub, rooms, shares))
    by_size = _pour(rest - sum(shares), [Fraction(size) for size in sizes], left)
    shares = list(map(add, shares, by_size))
    return list(map(add, counts, _round(shares, rest)))


def _pour(amount: Fraction | int, weights: list[Fraction], rooms: list) -> list[Fraction]:
    """Shares in proportion to the weights, none above its room; less in all if rooms run out."""
    shares = [Fraction(0)] * len(weights)
    open_ = [i for i, weight in enumerate(weights) if weight > 0 and rooms[i] > 0]
    while open_ and amount > 0:
        total = sum(weights[i] for i in open_)
        full = [i for i in open_ if amount * weights[i] >= rooms[i] * total]
        for i in full or open_:
            shares[i] = Fraction(rooms[i]) if full else amount * weights[i] / total
        if not full:
            break
        amount -= sum(rooms[i] for i in full)
        open_ = [i for i in open_ if i not in full]
    return shares


def _round(shares: list[Fraction], total: int) -> list[int]:
    """Largest remainders: integers that add up to the total, ties to the first."""
    counts = [int(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda i: counts[i] - shares[i])
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


def budget_at(
    progress: float, start: int, final: int, warmup: float = 0.0, hold: float = 0.0
) -> int:
    """The budget at a point of the training: a cubic from start to final.

    ``N₁ + (N₀ − N₁)(1 − (p − w)/(1 − h − w))³`` between the warm-up w and the hold h.

    Args:
        progress: p, share of the training that has passed, in [0, 1].
        start: N₀, weights.
        final: N₁, weights.
        warmup: w, share of the training that stays at the start.
        hold: h, share of the training, at its end, that stays at the final budget.

    Raises:
        ValueError: a share outside [0, 1], w + h above 1, or a budget that is no count.

    Source:
        AdaLoRA's schedule as SNELLA (arXiv:2510.24037) uses it, in shares instead of epochs.

    Example:
        >>> [budget_at(p, 1000, 200) for p in (0, 0.25, 0.5, 1)]
        [1000, 538, 300, 200]
    """
    for what, share in (("progress", progress), ("warmup", warmup), ("hold", hold)):
        if not 0 <= share <= 1:
            raise ValueError(f"{what} {share} is not in [0, 1]: pass a share of the training")
    if warmup + hold > 1:
        raise ValueError(
            f"warmup {warmup} and hold {hold} are more than the training: make their sum at most 1"
        )
    _check_count("start", start)
    _check_count("final", final)
    if progress >= 1 - hold:
        return final
    left = min(1.0, 1 - (progress - warmup) / (1 - hold - warmup)) if progress > warmup else 1.0
    return final + round((start - final) * left**3)


def _check_count(what: str, count: int) -> None:
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"{what} {count} is not a number of weights: use an integer of 0 or more")


def _check_shares(scores: Sequence[float], sizes: Sequence[int]) -> None:
    if len(scores) != len(sizes):
        raise ValueError(
            f"{len(scores)} scores do not fit {len(sizes)} sizes: pass one of each per layer"
        )
    bad = [score for score in scores if not isfinite(score) or score < 0]
    if bad:
        raise ValueError(
            f"score {bad[0]} cannot be a share: pass finite scores of 0 or more; leave out "
            "gradients that are not finite"
        )
    for size in sizes:
        _check_count("size", size)
