"""How many weights each layer may tune: layers compete for one budget that shrinks in training.

SNELLA (arXiv:2510.24037) scores a layer as AdaLoRA does (sensitivity times its uncertainty) and
gives it a share of the budget in proportion.
"""

import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from pclora_lab.methods.snella.budget import allocate, budget_at
from pclora_lab.methods.snella.layers import KernelSparseLinear

__all__ = ["BudgetAllocator"]


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
        factors = self._factors()
        # Every factor's means in a row: one launch for all of them, however many layers there are.
        self._counts = [factor.numel() for factor in factors]
        self._sens = factors[0].new_zeros(sum(self._counts), dtype=torch.float32)
        self._unc = torch.zeros_like(self._sens)
        self._skipped = torch.zeros((), dtype=torch.int64, device=self._sens.device)
        self._warned = False

    def _factors(self) -> list[Tensor]:
        return [factor for layer in self.layers.values() for factor in (layer.A, layer.B)]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the gradients there are: all, or none if a value of them is not finite."""
        factors = self._factors()
        known = [factor.grad is not None for factor in factors]
        if not any(known):
            return
        grads = [f.grad if f.grad is not None else torch.zeros_like(f) for f in factors]
        importance = _in_a_row(factors).mul_(_in_a_row(grads)).abs_()
        self._move_to(importance.device)
        # Decided on the device: reading the answer here would make every step wait. Squares,
        # because a score is a product of two of them and must be finite too.
        finite = importance.square().sum().isfinite()
        self._skipped += ~finite
        taken = finite if all(known) else finite & self._repeated(known)
        sens = torch.lerp(importance, self._sens, self.beta)
        unc = torch.lerp(importance.sub_(sens).abs_(), self._unc, self.beta)
        self._sens = torch.where(taken, sens, self._sens)
        self._unc = torch.where(taken, unc, self._unc)

    def _repeated(self, values: list[bool]) -> Tensor:
        """One value per factor, as often as the factor has entries."""
        device = self._sens.device
        counted = zip(self._counts, values, strict=True)
        return torch.cat([torch.full((n,), value, device=device) for n, value in counted])

    def _move_to(self, device: torch.device) -> None:
        """Follow the layers, which may have been moved since."""
        if self._skipped.device != device:
            self._sens, self._unc = self._sens.to(device), self._unc.to(device)
            self._skipped = self._skipped.to(device)

    def state_dict(self) -> dict[str, Tensor]:
        """Both running means by number of the factor, and how many updates were left out."""
        state = {"skipped": self._skipped.clone()}
        for kind, means in (("sens", self._sens), ("unc", self._unc)):
            pairs = zip(self._factors(), means.split(self._counts), strict=True)
            parts = [part.view(factor.shape).clone() for factor, part in pairs]
            state |= {f"{kind}.{i}": part for i, part in enumerate(parts)}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state_dict` returned."""
        device, numbers = self._skipped.device, range(len(self._counts))
        self._sens = _in_a_row([state[f"sens.{i}"] for i in numbers]).to(device)
        self._unc = _in_a_row([state[f"unc.{i}"] for i in numbers]).to(device)
        self._skipped = state["skipped"].to(device)

    @property
    def skipped(self) -> int:
        """How many updates were left out because a value was not finite."""
        return int(self._skipped)

    def scores(self) -> dict[str, float]:
        """Every layer's share of all scores; 0 for each as long as nothing was measured."""
        products = (self._sens * self._unc).split(self._counts)
        means = torch.stack([product.mean() for product in products]).view(-1, 2)
        scores = means.sum(1).tolist()
        total = sum(scores)
        shares = [score / total if total else 0.0 for score in scores]
        return dict(zip(self.layers, shares, strict=True))

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
        by_name = dict(zip(self.layers, counts, strict=True))
        for name, count in by_name.items():
            self.layers[name].set_num_tunable(count)
        return by_name


def _in_a_row(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors]).float()
