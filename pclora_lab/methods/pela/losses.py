"""PELA's repair: the task, features of the blocks, and how far the factors have moved."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab.methods.base import Batch, TaskLoss
from pclora_lab.methods.distillation.losses import feature_loss
from pclora_lab.methods.distillation.taps import FeaturePair, refuse_replicas
from pclora_lab.methods.pela.config import PELAConfig
from pclora_lab.methods.pela.model import pela_record
from pclora_lab.nn.forward import call_model, eval_mode
from pclora_lab.nn.layers.wrappers import innermost
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.nn.surgery import block_names
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION

__all__ = ["RepairTerms", "feature_distillation", "weight_perturbation"]

Features = Sequence[Tensor] | Mapping[str, Tensor]


def weight_perturbation(model: nn.Module, reference: nn.Module, epsilon: float) -> Tensor:
    """How far the factors have moved away from the weights that they replace.

    ``L_pert = mean_l (d_l − ε)²`` with ``d_l = max_ij |(B_l A_l − W_l)_ij|``; below ε it
    pushes up.

    Args:
        model: a factorized model.
        reference: the dense model that it was made from; it gets no gradient.
        epsilon: ε; the paper takes 1e-3, for Swin 0.

    Returns:
        A scalar, float32 or better, with gradient in one row and one column of each layer.

    Raises:
        ValueError: no factorized layer has a dense one of its name in the reference.

    Source:
        PELA, arXiv:2310.10700, weight perturbation regularization.

    Example:
        >>> dense, small = nn.Linear(2, 2, bias=False), LowRankLinear(2, 2, 1)  # B starts at 0
        >>> dense.weight.data = torch.tensor([[1.0, 2.0], [0.0, -4.0]])
        >>> weight_perturbation(nn.Sequential(small), nn.Sequential(dense), epsilon=1.0).item()
        9.0
    """
    model, reference = innermost(model), innermost(reference)
    dense = {n: m for n, m in reference.named_modules() if isinstance(m, nn.Linear)}
    layers = {n: m for n, m in model.named_modules() if isinstance(m, LowRankLinear)}
    gaps = [_largest_gap(layer, dense[n].weight) for n, layer in layers.items() if n in dense]
    if not gaps:
        raise ValueError(
            f"no LowRankLinear of {type(model).__name__} has an nn.Linear of its name in "
            f"{type(reference).__name__}: pass what factorize_model returned and the dense model"
        )
    return (torch.stack(gaps) - epsilon).square().mean()


def _largest_gap(layer: LowRankLinear, weight: Tensor) -> Tensor:
    # Only one entry of the product has a gradient, so it is found first and then computed anew
    # from its row and column: nothing of W's size is kept for the backward pass.
    dtype = torch.promote_types(layer.A.dtype, torch.float32)
    with torch.autocast(weight.device.type, enabled=False):
        A, B, weight = layer.A.to(dtype), layer.B.to(dtype), weight.detach()
        with torch.no_grad():
            largest = B.mm(A).sub_(weight).abs_().argmax().reshape(1)
        row = B.index_select(0, largest // weight.shape[1])
        column = A.index_select(1, largest % weight.shape[1])
        return (row.mm(column) - weight.reshape(-1).index_select(0, largest)).abs().sum()


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


class RepairTerms:
    """Stage 1: task + features + perturbation; stage 2: the task alone."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        config: PELAConfig,
        task: Task = IMAGE_CLASSIFICATION,
    ) -> None:
        refuse_replicas(student)
        self.forward, self.student = student, innermost(student)
        self.teacher, self.config, self.task = teacher, config, task
        record = pela_record(self.student)
        names = list(record["ranks"]) if record is not None else []
        linears = [n for n, m in teacher.named_modules() if isinstance(m, nn.Linear)]
        # Blocks by all their layers: with most of them excluded, one alone looks like a block.
        every = block_names([*linears, *names])
        blocks = [b for b in every if any(n == b or n.startswith(f"{b}.") for n in names)]
        self.features = FeaturePair(self.student, teacher, blocks)

    def __call__(self, inputs: Batch, labels: Tensor, progress: float) -> dict[str, Tensor]:
        if progress >= self.config.repair:
            self.close()
            return TaskLoss(self.forward, self.task)(inputs, labels, progress)
        with self.features.comparing():
            with eval_mode(self.teacher):
                call_model(self.teacher, inputs)
            task = self.task.loss(call_model(self.forward, inputs), labels)
        feature = self.features.loss()
        loss, terms = task + self.config.distil_weight * feature, {"task": task, "feature": feature}
        if self.config.perturbation_weight > 0:
            moved = weight_perturbation(self.student, self.teacher, self.config.epsilon)
            loss, terms["perturbation"] = loss + self.config.perturbation_weight * moved, moved
        return {"loss": loss, **terms}

    def close(self) -> None:
        self.features.close()
