"""PELA (arXiv:2310.10700): factorise once, then repair with the dense model as the teacher."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.accounting import ModelCounts, Plan, count_model, plan
from pclora_lab.budgets import ranks_for_budget, weight_spectra
from pclora_lab.config import MethodConfig, budget_option
from pclora_lab.factorising import (
    as_dense,
    exclusions,
    factorise,
    factorise_model,
    pela_layers,
    pela_rank,
    pela_ranks,
)
from pclora_lab.layers import LowRankLinear
from pclora_lab.losses import FeatureTaps, feature_loss
from pclora_lab.methods.base import Batch, Method, TaskLoss
from pclora_lab.options import option
from pclora_lab.surgery import block_names, call_model, copy_sharing, evaluating

__all__ = [
    "PELA",
    "PELAConfig",
    "exclusions",
    "factorise",
    "factorise_model",
    "feature_distillation",
    "pela_rank",
    "pela_ranks",
    "weight_perturbation",
]

Features = Sequence[Tensor] | Mapping[str, Tensor]


def weight_perturbation(model: nn.Module, reference: nn.Module, epsilon: float) -> Tensor:
    """How far the factors have moved away from the weights that they replace.

    ``L_pert = mean_l (d_l − ε)²`` with ``d_l = max_ij |(second_l · first_l − W_l)_ij|``; below ε it
    pushes up.

    Args:
        model: a factorised model.
        reference: the dense model that it was made from; it gets no gradient.
        epsilon: ε; the paper takes 1e-3, for Swin 0.

    Returns:
        A scalar, float32 or better, with gradient in one row and one column of each layer.

    Raises:
        ValueError: no factorised layer has a dense one of its name in the reference.

    Source:
        PELA, arXiv:2310.10700, weight perturbation regularisation.

    Example:
        >>> dense, small = nn.Linear(2, 2, bias=False), LowRankLinear(2, 2, 1)  # B starts at 0
        >>> dense.weight.data = torch.tensor([[1.0, 2.0], [0.0, -4.0]])
        >>> weight_perturbation(nn.Sequential(small), nn.Sequential(dense), epsilon=1.0).item()
        9.0
    """
    dense = {n: m for n, m in reference.named_modules() if isinstance(m, nn.Linear)}
    layers = {n: m for n, m in model.named_modules() if isinstance(m, LowRankLinear)}
    gaps = [_largest_gap(layer, dense[n].weight) for n, layer in layers.items() if n in dense]
    if not gaps:
        raise ValueError(
            f"no LowRankLinear of {type(model).__name__} has an nn.Linear of its name in "
            f"{type(reference).__name__}: pass what factorise_model returned and the dense model"
        )
    return (torch.stack(gaps) - epsilon).square().mean()


def _largest_gap(layer: LowRankLinear, weight: Tensor) -> Tensor:
    # Only one entry of the product has a gradient, so it is found first and then computed anew
    # from its row and column: nothing of W's size is kept for the backward pass.
    dtype = torch.promote_types(layer.A.dtype, torch.float32)
    with torch.autocast(weight.device.type, enabled=False):
        first, second, weight = layer.A.to(dtype), layer.B.to(dtype), weight.detach()
        with torch.no_grad():
            place = second.mm(first).sub_(weight).abs_().argmax().reshape(1)
        row = second.index_select(0, place // weight.shape[1])
        column = first.index_select(1, place % weight.shape[1])
        return (row.mm(column) - weight.reshape(-1).index_select(0, place)).abs().sum()


def feature_distillation(student_features: Features, teacher_features: Features) -> Tensor:
    """``(1/T) Σ_t mean((h_t − h*_t)²)`` over T blocks, in float32; the teacher gets no gradient.

    Args:
        student_features: every block's output, each ``(batch, tokens, features)``, in a sequence
            or by name.
        teacher_features: the same of the dense model.

    Raises:
        ValueError: no block, or blocks whose number, names or shapes differ.

    Source:
        PELA, arXiv:2310.10700, feature distillation.

    Example:
        >>> feature_distillation([torch.ones(1, 2, 3)], [torch.zeros(1, 2, 3)]).item()
        1.0
    """
    student, teacher = _shapes(student_features), _shapes(teacher_features)
    if not teacher or student != teacher:
        raise ValueError(
            f"the student's blocks are {student}, the teacher's {teacher}: pass the outputs of the "
            "same blocks for the same inputs, at least one"
        )
    return feature_loss(
        {name: student_features[name] for name in teacher},
        {name: teacher_features[name].detach() for name in teacher},
    )


def _shapes(features: Features) -> dict[Any, tuple[int, ...]]:
    items = features.items() if isinstance(features, Mapping) else enumerate(features)
    return {name: tuple(feature.shape) for name, feature in items}


@dataclass(frozen=True, kw_only=True)
class PELAConfig(MethodConfig):
    """How PELA (arXiv:2310.10700) factorises and repairs.

    Attributes:
        ratio: dense weights per factor weight, above 1; sets every rank.
        rank: one rank for all layers instead.
        budget: the share of the factorised layers to keep, instead.
        unit: what the budget counts, ``params`` or ``macs``.
        spend: ``uniform``, or ``energy`` to spend the budget where singular values are largest.
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
    usual_lr: ClassVar[float] = 1e-3

    ratio: float = option(
        2.0, "number", "ratio", "dense ÷ factorised weights, above 1", low=1, step=0.5, sizes=True
    )
    rank: int | None = option(
        None, "whole", "rank r", "one rank for all, instead of a ratio", low=1, optional=True,
        sizes=True,
    )  # fmt: skip
    budget: float | None = budget_option()
    unit: str = option(
        "params", "choice", "budget of", "what a budget counts", choices=("params", "macs"),
        hidden=True,
    )  # fmt: skip
    spend: str = option(
        "uniform", "choice", "spend it", "one rank for all, or by the energy of singular values",
        choices=("uniform", "energy"), sizes=True,
    )  # fmt: skip
    exclude: str = option(
        "auto", "text", "stay dense", "parts of layer names, separated by commas", hidden=True
    )
    repair: float = option(
        0.5, "number", "repair", "share of the steps that imitate the dense model", low=0, high=1
    )
    distil_weight: float = option(
        1.0, "number", "features", "weight of feature distillation", low=0
    )
    perturbation_weight: float = option(
        1.0, "number", "perturbation", "weight of the weight perturbation", low=0
    )
    epsilon: float = option(
        1e-3, "number", "ε", "aim of the weight perturbation", low=0, hidden=True
    )

    def __post_init__(self) -> None:
        """Validate; a ratio must be above 1."""
        if isinstance(self.ratio, (int, float)) and not self.ratio > 1:
            raise ValueError(
                f"ratio is {self.ratio!r}: it must be above 1, or the factors are larger than the "
                "layer; the paper takes 2 for DeiT and 1.5 for Swin"
            )
        super().__post_init__()


def _with_layers(counts: ModelCounts, names: Iterable[str]) -> ModelCounts:
    """Only these layers; each keeps a bias where it has one."""
    layers = (replace(c, always_bias=False) for c in counts.layers if c.name in names)
    return replace(counts, layers=tuple(layers))


class _Repair:
    """Stage 1: task + features + perturbation; stage 2: the task alone."""

    def __init__(self, student: nn.Module, teacher: nn.Module, config: PELAConfig) -> None:
        self.student, self.teacher, self.config = student, teacher, config
        names = list(student.pela["ranks"])
        linears = [n for n, m in teacher.named_modules() if isinstance(m, nn.Linear)]
        # Blocks by all their layers: with most of them excluded, one alone looks like a block.
        every = block_names([*linears, *names])
        blocks = [b for b in every if any(n == b or n.startswith(f"{b}.") for n in names)]
        self.taps = FeatureTaps(student, blocks), FeatureTaps(teacher, blocks)

    def __call__(self, inputs: Batch, labels: Tensor, progress: float) -> dict[str, Tensor]:
        if progress >= self.config.repair:
            self.close()
            return TaskLoss(self.student)(inputs, labels, progress)
        with evaluating(self.teacher):
            call_model(self.teacher, inputs)
        task = F.cross_entropy(call_model(self.student, inputs).float(), labels)
        feature = feature_distillation(*(tap.outputs for tap in self.taps))
        loss, terms = task + self.config.distil_weight * feature, {"task": task, "feature": feature}
        if self.config.perturbation_weight > 0:
            moved = weight_perturbation(self.student, self.teacher, self.config.epsilon)
            loss, terms["perturbation"] = loss + self.config.perturbation_weight * moved, moved
        return {"loss": loss, **terms}

    def close(self) -> None:
        for tap in self.taps:
            tap.close()


class PELA(Method):
    """PELA behind the four verbs."""

    name = "pela"
    title = "PELA"
    summary = "Factorise every weight once, repair with the dense model as teacher, fine-tune."
    Config = PELAConfig
    doing = "repairing, then fine-tuning"
    reading = (
        "While the dashed line is at 1 the student imitates the dense model's blocks; where it "
        "falls to 0, fine-tuning on the labels alone begins."
    )
    reports = ("repair", "task", "feature", "perturbation")
    lrs = (5e-4, 1e-3)

    def apply(
        self,
        model: nn.Module,
        *,
        calibration: Iterable[Tensor] = (),
        generator: torch.Generator | None = None,
        example: Batch | None = None,
        counts: ModelCounts | None = None,
    ) -> nn.Module:
        """See :func:`factorise_model`; everything trains."""
        config = self.config
        if self._is_factorised(model):
            return copy_sharing(model, ()).requires_grad_(True)
        options = {"targets": config.targets, "exclude": self._exclude(), "example": example}
        if config.budget is None and config.spend == "uniform":
            student = factorise_model(model, ratio=config.ratio, rank=config.rank, **options)
        else:
            counts = count_model(model, targets=config.targets, example=example)
            ranks = self._ranks(counts, model, config.spend)
            student = factorise_model(model, ranks=ranks, **options)
        return student.requires_grad_(True)

    @property
    def starts_from(self) -> str:
        """Stage 2 alone needs no teacher."""
        return "teacher" if self.config.repair > 0 else "pretrained"

    def _is_factorised(self, model: nn.Module) -> bool:
        if not hasattr(model, "pela"):
            return False
        if self.config.repair > 0:
            raise ValueError(
                f"repair is {self.config.repair:g}, but the model is factorised already and there "
                "is no dense one to imitate: set repair=0 for stage 2, or pass the dense model"
            )
        return True

    def count(self, model: nn.Module) -> ModelCounts:
        """Of the dense model, also where it has been factorised."""
        dense = as_dense(model) if hasattr(model, "pela") else model
        return count_model(dense, targets=self.config.targets)

    def _exclude(self) -> tuple[str, ...] | None:
        parts = tuple(part.strip() for part in self.config.exclude.split(",") if part.strip())
        return None if parts == ("auto",) else parts

    def _ranks(self, counts: ModelCounts, model: nn.Module, spend: str) -> dict[str, int]:
        """By budget, by rank or by ratio, for the layers that are not excluded."""
        config = self.config
        if self._is_factorised(model):
            return dict(model.pela["ranks"])
        kinds = {"exclude": self._exclude(), "targets": config.targets}
        names = pela_layers(model, **kinds)
        counts = _with_layers(counts, names)
        ranks = pela_ranks(model, config.ratio, rank=config.rank, **kinds)
        if config.budget is None and spend == "uniform":
            return ranks
        kept = plan(counts, ranks).replaced
        share = {"params": kept.params_after / kept.params_before}
        share["macs"] = kept.macs_after / kept.macs_before
        budget = config.budget if config.budget is not None else share[config.unit]
        spectra = None
        if spend == "energy":
            spectra = weight_spectra(model, config.targets)
        return ranks_for_budget(counts, budget, unit=config.unit, spend=spend, spectra=spectra)

    def set_progress(self, student: nn.Module, progress: float) -> dict[str, float]:
        """1 in stage 1, 0 in stage 2."""
        return {"repair": float(progress < self.config.repair)}

    def loss_terms(self, student: nn.Module, teacher: nn.Module) -> _Repair:
        """``task + w_f·features + w_p·perturbation``, then the task alone."""
        return _Repair(student, teacher, self.config)

    def finish(self, student: nn.Module) -> nn.Module:
        """A copy in eval mode; ``.pela`` says ratio, ranks and exclusions."""
        return copy_sharing(student, ()).eval()

    def plan(self, counts: ModelCounts, model: nn.Module) -> Plan:
        """The sizes at the ranks that ratio, rank or budget give."""
        ranks = self._ranks(counts, model, "uniform")
        counts = _with_layers(counts, ranks)
        return plan(counts, ranks)
