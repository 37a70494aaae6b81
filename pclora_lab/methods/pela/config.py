"""What can be chosen about PELA."""

from dataclasses import dataclass
from typing import ClassVar

from pclora_lab.fields import check_number, option
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.rank_selection import (
    budget_option,
    budget_unit_option,
    rank_allocation_option,
)

__all__ = ["PELAConfig"]


def _check_ratio(value: object) -> object:
    if isinstance(value, (int, float)) and not value > 1:
        raise ValueError(
            f"ratio is {value!r}: it must be above 1, or the factors are larger than the layer; "
            "the paper takes 2 for DeiT and 1.5 for Swin"
        )
    check_number("ratio", value, 1)
    return value


def _repairs(config: "PELAConfig") -> bool:
    return config.repair > 0


@dataclass(frozen=True, kw_only=True)
class PELAConfig(MethodConfig):
    """How PELA (arXiv:2310.10700) factorizes and repairs.

    Attributes:
        ratio: dense weights per factor weight, above 1; sets every rank.
        rank: one rank for all layers instead.
        budget: the share of the factorized layers to keep, instead.
        budget_unit: what the budget counts, ``params`` or ``macs``.
        rank_allocation: ``uniform``, or ``energy`` to spend the budget where singular values
            are largest.
        exclude: parts of layer names that stay dense, separated by commas; ``auto`` is
            :func:`exclusions`.
        repair: share of the steps in stage 1, which imitates the dense model; the rest is stage 2,
            fine-tuning without a teacher. For two data sets take two runs: 1 on data like those of
            the pre-training, then 0 with the first run's ``compressed`` folder as the model.
        distil_weight: weight of the feature distillation in stage 1.
        perturbation_weight: weight of the weight perturbation in stage 1; the paper's 1, the
            released recipe's 0.
        epsilon: ε of the weight perturbation.

    Raises:
        ValueError: a value out of its range, with the range and a cure.

    Example:
        >>> PELAConfig(ratio=4.0).epsilon
        0.001
    """

    name: ClassVar[str] = "pela"
    default_lr: ClassVar[float] = 1e-3

    ratio: float = option(
        2.0, "number", "ratio", "dense ÷ factorized weights, above 1", low=1, step=0.5, sizes=True,
        check=_check_ratio,
    )  # fmt: skip
    rank: int | None = option(
        None, "whole", "rank r", "one rank for all, instead of a ratio", low=1, high=2**16,
        optional=True, sizes=True,
    )  # fmt: skip
    budget: float | None = budget_option()
    budget_unit: str = budget_unit_option()
    rank_allocation: str = rank_allocation_option()
    exclude: str = option(
        "auto", "text", "stay dense", "parts of layer names, separated by commas", hidden=True
    )
    repair: float = option(
        0.5, "number", "repair", "share of the steps that imitate the dense model", low=0, high=1
    )
    distil_weight: float = option(
        1.0, "number", "features", "weight of feature distillation", low=0, matters=_repairs
    )
    perturbation_weight: float = option(
        1.0, "number", "perturbation", "weight of the weight perturbation", low=0, matters=_repairs
    )
    epsilon: float = option(
        1e-3, "number", "ε", "aim of the weight perturbation", low=0, hidden=True
    )
