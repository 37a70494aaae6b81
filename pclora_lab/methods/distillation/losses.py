"""What a student can imitate: outputs of layers or blocks (features), and logits."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pclora_lab.fields import option
from pclora_lab.methods.metrics import Metric, Panel
from pclora_lab.tasks.losses import logit_loss

__all__ = [
    "FEATURE",
    "LOGIT",
    "TAPS",
    "feature_gap",
    "feature_loss",
    "logit_loss",
    "logit_weight_option",
    "task_share_option",
    "taps_option",
    "temperature_option",
    "token_means_weighted",
]

TAPS = ("linears", "blocks")

FEATURE = Metric(
    "feature",
    "feature distillation",
    Panel.LOSS,
    "green",
    dash="dash",
    overlay_dash="dash",
    overlay_hint="dashed: feature distillation",
)
LOGIT = Metric("logit", "logit distillation", Panel.LOSS, "purple", dash="dot")


def feature_loss(
    student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], real: Tensor | None = None
) -> Tensor:
    """Mean over taps of the mean squared difference, summed up in float32.

    ``L_feat = (1/T) Σ_t mean((h_t − h*_t)²)`` with every ``h_t`` of shape
    ``(batch, tokens, features)``. Source: PC-LoRA, arXiv:2406.09117 (L_featKD).

    Args:
        student: outputs by tap.
        teacher: outputs by tap.
        real: ``(batch, tokens)``, False where there is padding, which is not compared.

    Example:
        >>> feature_loss({"a": torch.ones(2)}, {"a": torch.zeros(2)}).item()
        1.0
    """
    return torch.stack([feature_gap(student[n], teacher[n], real) for n in teacher]).mean()


_TOKEN_WEIGHT: ContextVar[float | None] = ContextVar("_TOKEN_WEIGHT", default=None)


@contextmanager
def token_means_weighted(weight: float) -> Iterator[None]:
    """Inside, a mean over real tokens is multiplied, for a part of a batch of texts.

    The part's loss is weighted with its share of the examples, but it may hold another share of the
    tokens: ``weight`` is the second share over the first.

    Example:
        >>> h, real = torch.ones(1, 2, 3), torch.tensor([[True, False]])
        >>> with token_means_weighted(1.5):
        ...     feature_gap(h, 0 * h, real).item(), feature_gap(h, 0 * h).item()
        (1.5, 1.0)
    """
    token = _TOKEN_WEIGHT.set(weight)
    try:
        yield
    finally:
        _TOKEN_WEIGHT.reset(token)


def feature_gap(student: Tensor, teacher: Tensor, real: Tensor | None = None) -> Tensor:
    """``mean((h − h*)²)`` over what is no padding.

    One tensor is kept for the backward pass, the difference. It is summed up in float32 at least,
    without a copy in float32.

    Args:
        student: h, ``(batch, tokens, features)``.
        teacher: h*, likewise; it takes no gradient.
        real: as in :func:`feature_loss`.

    Raises:
        ValueError: the two are of different shapes.

    Example:
        >>> feature_gap(torch.ones(1, 2, 3), torch.zeros(1, 2, 3)).item()
        1.0
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"a feature is {tuple(student.shape)} in the student and {tuple(teacher.shape)} in the "
            "teacher: compare outputs of the same layer for the same inputs"
        )
    if real is not None and student.shape[:2] != real.shape:
        real = None
    return _FeatureGap.apply(student, teacher, real)


class _FeatureGap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, real: Tensor | None) -> Tensor:
        difference = student - teacher.to(student.dtype)
        count: float | Tensor = difference.numel()
        if real is not None:
            # Weighted, because picking the real tokens out would wait for the GPU.
            difference.mul_(real.unsqueeze(-1))
            # At least 1, for a batch of padding alone.
            count = (real.sum() * (difference.numel() // max(1, real.numel()))).clamp_min(1)
            if (weight := _TOKEN_WEIGHT.get()) is not None:
                count = count / weight
        # An attribute and not saved: a checkpoint would throw a saved tensor away and ask for it
        # again in a second forward pass, where nothing is compared.
        ctx.difference, ctx.count = difference, count
        return _square_sum(difference) / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        slope, difference = grad * 2 / ctx.count, ctx.difference
        if difference.dtype == torch.float16:  # which is too coarse for so small a slope
            return difference.to(slope.dtype).mul_(slope).to(torch.float16), None, None
        return difference * slope.to(difference.dtype), None, None


def _square_sum(x: Tensor) -> Tensor:
    """In float32 at least, in one pass and without another tensor of the size of x."""
    if x.dtype in (torch.float32, torch.float64):
        flat = x.reshape(-1)
        return torch.dot(flat, flat)
    return torch.linalg.vector_norm(x, dtype=torch.float32).square()


def task_share_option() -> float:
    """A field for α, the share of the task's own loss."""
    return option(0.2, "number", "task share α", "the share of the task loss", low=0, high=1)


def taps_option() -> str:
    """A field for what is imitated: every linear layer's output, or every block's."""
    return option(
        "linears", "choice", "features of", "which outputs are imitated", choices=TAPS,
        matters=lambda config: config.alpha < 1,
    )  # fmt: skip


def logit_weight_option() -> float:
    """A field for the weight of :func:`logit_loss`."""
    return option(0.0, "number", "logit weight", "weight of logit distillation", low=0, hidden=True)


def temperature_option() -> float:
    """A field for the T of :func:`logit_loss`."""
    return option(2.0, "number", "temperature", "T of logit distillation", low=1e-3, hidden=True)
