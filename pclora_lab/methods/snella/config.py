"""What can be chosen about SNELLA."""

from dataclasses import dataclass
from typing import ClassVar

from pclora_lab.fields import FieldError, option
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.rank_selection import budget_option
from pclora_lab.methods.snella.choices import KERNELS, SPARSIFIERS

__all__ = ["SNELLAConfig"]


@dataclass(frozen=True, kw_only=True)
class SNELLAConfig(MethodConfig):
    """How SNELLA tunes.

    Attributes:
        rank: r of the factors, even.
        sparsity: share of the layers' weights that may not change at the end.
        budget: share of the layers' parameters for the factors, and of the weights that may
            change; overrides ``rank`` and ``sparsity``.
        kernel: how the factors become a matrix; see :func:`merge_factors`.
        sparsifier: what becomes of the entries above the threshold; see :func:`sparsify`.
        start_sparsity: sparsity in the beginning; the budget falls from there along a cubic.
        allocations: how often the layers compete during the training; the paper does it every
            epoch. 1 gives every layer the same share of its weights, from the start.
        floor: weights that every layer keeps in any case; the paper's 0 lets a layer starve.
        warmup: share of the training at the starting budget.
        hold: share of the training at the final budget.
        dropout: on the branch's input. The paper's recipe has 0.1; with 0 a layer needs one
            product instead of two.

    Raises:
        ValueError: a value out of its range, or an odd rank.

    Example:
        >>> SNELLAConfig(rank=4).kernel
        'piecewise_linear'
    """

    name: ClassVar[str] = "snella"
    default_lr: ClassVar[float] = 1e-2

    rank: int = option(
        8, "whole", "rank r", "rank of the factors, even", low=2, high=4096, sizes=True
    )
    budget: float | None = budget_option()
    sparsity: float = option(
        0.9, "number", "sparsity", "share of the weights that may not change", low=0, high=1,
        sizes=True,
    )  # fmt: skip
    kernel: str = option(
        "piecewise_linear", "choice", "kernel", "how factors become a matrix", choices=KERNELS
    )
    sparsifier: str = option(
        "squared",
        "choice",
        "sparsifier",
        "what becomes of the entries above the threshold",
        choices=SPARSIFIERS,
        formerly="rule",
    )
    start_sparsity: float = option(
        0.0,
        "number",
        "start sparsity",
        "sparsity in the beginning",
        low=0,
        high=1,
        matters=lambda config: config.allocations > 1,
    )
    allocations: int = option(
        20, "whole", "allocations", "how often layers compete for the budget", low=1, high=10**6
    )
    floor: int = option(0, "whole", "floor", "weights that every layer keeps", low=0, high=2**40)
    warmup: float = option(
        0.0, "number", "budget warm-up", "share at the start budget", low=0, high=1, hidden=True
    )
    hold: float = option(
        0.0, "number", "budget hold", "share at the final budget", low=0, high=1, hidden=True
    )
    dropout: float = option(
        0.0, "number", "dropout", "on the branch's input", low=0, high=0.9, hidden=True
    )

    def __post_init__(self) -> None:
        """Validate; factors come in two halves."""
        super().__post_init__()
        if self.rank % 2:
            raise FieldError(
                "rank",
                f"rank {self.rank} is odd: SNELLA's factors come in two halves; use "
                f"{self.rank - 1} or {self.rank + 1}",
            )
        if self.warmup + self.hold > 1:
            raise ValueError(
                f"warmup {self.warmup} and hold {self.hold} are more than the whole training: "
                "together they may be 1"
            )
