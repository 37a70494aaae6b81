"""How many weights each layer may tune: layers compete for one budget that shrinks in training.

SNELLA (arXiv:2510.24037) scores a layer as AdaLoRA does (sensitivity times its uncertainty) and
gives it a share of the budget in proportion.
"""

import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isfinite

import torch
from torch import Tensor

from pclora_lab.methods.snella.layers import KernelSparseLinear

__all__ = ["BudgetAllocator", "allocate", "budget_at"]


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
    rooms = [size - count for size, count in zip(sizes, counts, strict=True)]
    shares = _pour(rest, [Fraction(score) for score in scores], rooms)
    left = [room - share for room, share in zip(rooms, shares, strict=True)]
    by_size = _pour(rest - sum(shares), [Fraction(size) for size in sizes], left)
    shares = [share + more for share, more in zip(shares, by_size, strict=True)]
    return [count + share for count, share in zip(counts, _round(shares, rest), strict=True)]


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


class BudgetAllocator:
    r"""Scores layers while they train and hands the budget out anew.

    For A and B, elementwise: ``I = |p·∇p|``, ``sens ← β·sens + (1−β)·I``,
    ``unc ← β·unc + (1−β)·|I − sens|``. A layer's score is the mean of ``sens·unc`` over A plus
    that over B.

    Args:
        layers: the layers that compete, by name, all on one device.
        start: N₀, weights tuned in all layers together, see :func:`budget_at`.
        final: N₁, likewise.
        floor: weights that every layer keeps, so that none starves for good.
        warmup, hold: w and h, likewise.
        beta: β of both running means.

    Raises:
        ValueError: no layers, β outside [0, 1), or what the two functions above reject.

    Source:
        SNELLA, arXiv:2510.24037; AdaLoRA, arXiv:2303.10512.

    Example:
        >>> layers = {n: KernelSparseLinear(torch.nn.Linear(8, 4), rank=2) for n in "ab"}
        >>> allocator = BudgetAllocator(layers, start=20, final=10)
        >>> (layers["a"](torch.ones(1, 8)) + layers["b"](torch.ones(1, 8))).sum().backward()
        >>> allocator.update()
        >>> sum(allocator.reallocate(progress=1.0).values())
        10
    """

    def __init__(
        self,
        layers: Mapping[str, KernelSparseLinear],
        start: int,
        final: int,
        *,
        floor: int = 0,
        warmup: float = 0.0,
        hold: float = 0.0,
        beta: float = 0.85,
    ) -> None:
        if not layers:
            raise ValueError("no layers to share the budget between: pass at least one")
        if not 0 <= beta < 1:
            raise ValueError(f"beta {beta} is not in [0, 1): it is the part of a mean that stays")
        self.layers, self.beta = dict(layers), beta
        self._sizes = [m.in_features * m.out_features for m in self.layers.values()]
        self._plan, self._floor = (start, final, warmup, hold), floor
        budget_at(0.0, *self._plan)
        allocate([0.0] * len(self._sizes), self._sizes, min(start, final), floor)
        factors = [p for m in self.layers.values() for p in (m.A, m.B)]
        self._sens = [torch.zeros_like(p, dtype=torch.float32) for p in factors]
        self._unc = [torch.zeros_like(sens) for sens in self._sens]
        self._skipped = torch.zeros((), dtype=torch.int64, device=factors[0].device)
        self._warned = False

    @torch.no_grad()
    def update(self) -> None:
        """Take in the gradients there are: all, or none if a value of them is not finite."""
        factors = (p for m in self.layers.values() for p in (m.A, m.B))
        found = [(i, p, p.grad) for i, p in enumerate(factors) if p.grad is not None]
        if not found:
            return
        importance = {i: (p.float() * grad.float()).abs() for i, p, grad in found}
        self._move_to(found[0][1].device)
        # Decided on the device: reading the answer here would make every step wait. Squares,
        # because a score is a product of two of them and must be finite too.
        squares = [values.square().sum() for values in importance.values()]
        finite = torch.stack(squares).isfinite().all()
        self._skipped += ~finite
        for i, values in importance.items():
            sens = torch.lerp(values, self._sens[i], self.beta)
            unc = torch.lerp((values - sens).abs(), self._unc[i], self.beta)
            self._sens[i] = torch.where(finite, sens, self._sens[i])
            self._unc[i] = torch.where(finite, unc, self._unc[i])

    def _move_to(self, device: torch.device) -> None:
        """Follow the layers, which may have been moved since."""
        if self._skipped.device != device:
            self._sens = [sens.to(device) for sens in self._sens]
            self._unc = [unc.to(device) for unc in self._unc]
            self._skipped = self._skipped.to(device)

    def state_dict(self) -> dict[str, Tensor]:
        """Both running means by number of the factor, and how many updates were left out."""
        state = {f"sens.{i}": sens.clone() for i, sens in enumerate(self._sens)}
        state |= {f"unc.{i}": unc.clone() for i, unc in enumerate(self._unc)}
        return {**state, "skipped": self._skipped.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state_dict` read."""
        device = self._skipped.device
        self._sens = [state[f"sens.{i}"].to(device) for i in range(len(self._sens))]
        self._unc = [state[f"unc.{i}"].to(device) for i in range(len(self._unc))]
        self._skipped = state["skipped"].to(device)

    @property
    def skipped(self) -> int:
        """How many updates were left out because a value was not finite."""
        return int(self._skipped)

    def scores(self) -> dict[str, float]:
        """Every layer's share of all scores; 0 for each as long as nothing was measured."""
        pairs = zip(self._sens, self._unc, strict=True)
        means = torch.stack([(sens * unc).mean() for sens, unc in pairs]).view(-1, 2)
        scores = means.sum(1).tolist()
        total = sum(scores) or 1.0
        return {name: score / total for name, score in zip(self.layers, scores, strict=True)}

    def reallocate(self, progress: float) -> dict[str, int]:
        """Set every layer's sparsity to its share of the budget; returns how many each tunes."""
        if self.skipped and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.skipped} update(s) of the layer scores were skipped: a weight or gradient "
                "was not finite; lower the learning rate if this goes on",
                stacklevel=2,
            )
        budget = budget_at(progress, *self._plan)
        counts = allocate(list(self.scores().values()), self._sizes, budget, self._floor)
        for layer, count in zip(self.layers.values(), counts, strict=True):
            layer.set_num_tunable(count)
        return dict(zip(self.layers, counts, strict=True))


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
