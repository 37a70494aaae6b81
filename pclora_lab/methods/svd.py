"""Truncated SVD, alone and with distillation: what a low rank gives without fading.

The two questions behind it: how far does the start alone get, and does fading the base out add
anything to the same start, the same distillation and the same steps?
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from pclora_lab.fields import option
from pclora_lab.methods.base import MethodConfig, MethodContext
from pclora_lab.methods.distillation.losses import (
    FEATURE,
    LOGIT,
    logit_weight_option,
    taps_option,
    task_share_option,
    temperature_option,
)
from pclora_lab.methods.metrics import LR_SHARE, TASK
from pclora_lab.methods.pclora.losses import DistillationTerms
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress, student_config
from pclora_lab.methods.pclora.removal import compress, drop_base
from pclora_lab.methods.rank_selection import LowRankConfig, LowRankMethod
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.layers.wrappers import unwrapped
from pclora_lab.nn.surgery import deepcopy_sharing

__all__ = ["ActivationSVD", "ActivationSVDConfig", "SVD", "SVDConfig", "SVDKD", "SVDKDConfig"]


class SVDConfig(LowRankConfig):
    """Plain truncation: ``W ≈ U_r S_r V_rᵀ``.

    Example:
        >>> SVDConfig(budget=0.1).rank_allocation
        'uniform'
    """

    name: ClassVar[str] = "svd"


class ActivationSVDConfig(LowRankConfig):
    """Truncation that is best for the inputs the layer really gets.

    See :mod:`pclora_lab.methods.factorization`.
    """

    name: ClassVar[str] = "activation_svd"


@dataclass(frozen=True, kw_only=True)
class SVDKDConfig(LowRankConfig):
    """Truncation, then the distillation of PC-LoRA.

    Attributes:
        init: ``svd`` or ``activation_svd``.
        alpha: share of the task loss.
        taps: which outputs are imitated.
        logit_weight: weight of the logit distillation term.
        temperature: T of that term.
    """

    name: ClassVar[str] = "svd_kd"
    default_lr: ClassVar[float] = 5e-3

    init: str = option(
        "activation_svd", "choice", "initialization", "which SVD",
        choices=("svd", "activation_svd"), noun="start",
    )  # fmt: skip
    alpha: float = task_share_option()
    taps: str = taps_option()
    logit_weight: float = logit_weight_option()
    temperature: float = temperature_option()


def _truncate(
    model: nn.Module, config: LowRankConfig, init: str, context: MethodContext
) -> nn.Module:
    """A PC-LoRA student at λ = 0 without its base: the truncated model, adapters trainable."""
    with generators_kept():  # what is drawn is replaced by the SVD
        student = get_pclora_model(
            model,
            replace(student_config(config), init=init),
            calibration=context.calibration,
            example=context.example,
            counts=context.counts,
        )
    set_progress(student, 1.0)
    return drop_base(student)


class SVD(LowRankMethod[LowRankConfig]):
    """Truncated SVD of every layer, no training."""

    name = "svd"
    title = "SVD"
    summary = "Cut every weight to its largest singular values; nothing is trained."
    Config: ClassVar[type[MethodConfig]] = SVDConfig
    trains = False
    in_default_comparison = True
    color, marker = "sky", "v"
    init: ClassVar[str] = "svd"

    def apply(self, model: nn.Module, context: MethodContext = MethodContext()) -> nn.Module:
        """The truncated model."""
        return compress(_truncate(model, self.config, self.init, context))

    def finalize(self, student: nn.Module) -> nn.Module:
        """The student is the result."""
        return deepcopy_sharing(unwrapped(student), ()).eval()


class ActivationSVD(SVD):
    """The same, weighted by what enters each layer."""

    name = "activation_svd"
    title = "activation-aware SVD"
    summary = "Cut every weight to what matters for the inputs it really gets; nothing is trained."
    Config = ActivationSVDConfig
    in_default_comparison = False
    color, marker = "blue", "^"
    init = "activation_svd"


class SVDKD(LowRankMethod[SVDKDConfig]):
    """PC-LoRA with λ = 0 from the first step: the control experiment for the fade."""

    name = "svd_kd"
    title = "SVD + KD"
    summary = "Cut first, then distill: PC-LoRA's loss without its fade."
    Config = SVDKDConfig
    supports_replay = True
    metrics = (TASK, FEATURE, LOGIT, LR_SHARE)
    color, marker = "orange", "s"

    def apply(self, model: nn.Module, context: MethodContext = MethodContext()) -> nn.Module:
        """The truncated model, its factors trainable."""
        return _truncate(model, self.config, self.config.init, context)

    def loss_terms(self, student: nn.Module, teacher: nn.Module) -> DistillationTerms:
        """See :func:`pclora_lab.total_loss`."""
        return DistillationTerms(student, teacher, self.task)

    def finalize(self, student: nn.Module) -> nn.Module:
        """See :func:`pclora_lab.compress`."""
        return compress(student)
