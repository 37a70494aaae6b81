"""What can be chosen about PC-LoRA."""

from dataclasses import dataclass
from typing import ClassVar

from pclora_lab.fields import FieldError, option
from pclora_lab.methods.distillation.losses import (
    logit_weight_option,
    taps_option,
    task_share_option,
    temperature_option,
)
from pclora_lab.methods.pclora.schedules import check_schedule, parse_points
from pclora_lab.methods.rank_selection import LowRankConfig

__all__ = ["INITS", "PCLoRAConfig"]

INITS = ("zeros", "svd", "activation_svd")


def _check_fade_end(value: object) -> object:
    if not (isinstance(value, (int, float)) and 0 < value <= 1):
        raise ValueError(
            f"fade end q is {value!r}: it must be in (0, 1], a share of all steps; 0.6 is the "
            "usual value"
        )
    return value


@dataclass(frozen=True, kw_only=True)
class PCLoRAConfig(LowRankConfig):
    """How PC-LoRA (arXiv:2406.09117) compresses a model.

    Attributes:
        schedule: name of a decay schedule, or ``(progress, λ)`` points.
        may_rise: allow drawn points at which λ grows again.
        fade_end: q in (0, 1]; from this share of the steps on, λ is 0. The paper's 0.6 is known
            at second hand only.
        alpha: α in [0, 1]; loss = α·task + (1 − α)·(feature + logit_weight·logit).
        init: ``zeros`` (the paper's), ``svd`` or ``activation_svd`` (residual starts).
        taps: which outputs the student imitates: every replaced layer (``linears``) or every
            transformer block (``blocks``). The paper leaves it open.
        logit_weight: weight of the logit distillation term; 0 leaves it out.
        temperature: T of that term.
        scale: s on the adapter, LoRA's alpha/r.
        train_norms: train the LayerNorms as well.
        reset_moments: where λ jumps by more than 0.25 from one step to the next (schedule
            ``identity``, a hand that lets go), clear AdamW's moments, which are those of other
            gradients, and let the learning rate rise again.

    Raises:
        ValueError: a value out of its range, with the range and a cure.

    Example:
        >>> PCLoRAConfig(rank=8).schedule
        'sine'
    """

    name: ClassVar[str] = "pclora"
    default_lr: ClassVar[float] = 5e-3

    schedule: str | tuple[tuple[float, float], ...] = option(
        "sine",
        "schedule",
        "schedule λ",
        "how the weight of the base falls",
        # Whether it may rise is another option's say: the two are checked together below.
        check=lambda value: check_schedule(value, may_rise=True),
        parse=lambda text: parse_points(text) if ":" in text else None,
    )
    may_rise: bool = option(
        False, "switch", "λ may rise", "let a drawn schedule go up again on its way"
    )
    fade_end: float = option(
        0.6, "number", "fade end q", "share of the steps until λ is 0", low=0, high=1,
        check=_check_fade_end, matters=lambda config: isinstance(config.schedule, str),
    )  # fmt: skip
    alpha: float = task_share_option()
    init: str = option(
        "zeros", "choice", "initialization", "where the adapters start", choices=INITS, noun="start"
    )
    taps: str = taps_option()
    logit_weight: float = logit_weight_option()
    temperature: float = temperature_option()
    scale: float = option(1.0, "number", "scale s", "LoRA's alpha/r", low=1e-6, hidden=True)
    train_norms: bool = option(
        False, "switch", "train norms", "train the LayerNorms too", hidden=True
    )

    reset_moments: bool = option(
        False, "switch", "reset moments",
        "where λ jumps (a hand lets go, identity), clear the optimizer's moments and warm up again",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Validate; points become a tuple of pairs."""
        super().__post_init__()
        try:
            check_schedule(self.schedule, may_rise=self.may_rise)
        except ValueError as error:
            raise FieldError("schedule", str(error)) from error

    def label(self) -> str:
        """Rank or budget, schedule and start, which people vary most."""
        rank = "-by-layer" if self.by_layer else self.rank
        size = f"r{rank}" if self.budget is None else f"b{self.budget:g}"
        schedule = self.schedule if isinstance(self.schedule, str) else "drawn"
        return "-".join([size.replace("%", "pct"), schedule, self.init])
