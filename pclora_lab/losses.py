"""Named loss terms of a student that imitates a teacher.

The terms stay apart until :func:`total_loss`, so that a plot can show each one.
"""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.batches import real_tokens
from pclora_lab.config import PCLoRAConfig
from pclora_lab.surgery import block_names, call_model, evaluating
from pclora_lab.tasks import TaskLossFunction, classification_loss

__all__ = ["Distiller", "FeatureTaps", "feature_loss", "logit_loss", "total_loss"]


class FeatureTaps:
    """Keeps the outputs of named modules from the latest forward pass.

    Args:
        model: the model to watch.
        names: full module names; an output that is a tuple counts with its first element.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with FeatureTaps(model, ["0"]) as taps:
        ...     _ = model(torch.zeros(1, 2))
        ...     taps.outputs["0"].shape
        torch.Size([1, 3])
    """

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        self.outputs: dict[str, Tensor] = {}
        self._handles = [
            module.register_forward_hook(self._keeper(name, module))
            for name, module in ((name, model.get_submodule(name)) for name in names)
        ]

    def _keeper(self, name: str, watched: nn.Module) -> Any:
        def keep(module: nn.Module, args: tuple, output: Tensor | tuple) -> None:
            if module is not watched:  # a copy of the model took the hook along
                return
            self.outputs[name] = output[0] if isinstance(output, tuple) else output

        return keep

    def close(self) -> None:
        """Remove the hooks and let go of the outputs."""
        for handle in self._handles:
            handle.remove()
        self.outputs = {}

    def __enter__(self) -> "FeatureTaps":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def feature_loss(
    student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], real: Tensor | None = None
) -> Tensor:
    """Mean over taps of the mean squared difference, in float32.

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
    gaps = [_gap(student[name].float(), teacher[name].float(), real) for name in teacher]
    return torch.stack(gaps).mean()


def _gap(student: Tensor, teacher: Tensor, real: Tensor | None) -> Tensor:
    if real is None or student.shape[:2] != real.shape:
        return F.mse_loss(student, teacher)
    # A weighted mean, because picking the real tokens out would wait for the GPU.
    weight = real.unsqueeze(-1).to(student.dtype)
    return ((student - teacher) ** 2 * weight).sum() / (weight.sum() * student.shape[-1])


def logit_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """``T² · KL(softmax(teacher/T) ‖ softmax(student/T))``, mean over the batch.

    Args:
        student: logits ``(batch, classes)``.
        teacher: logits ``(batch, classes)``.
        temperature: T.

    Source: Hinton et al., arXiv:1503.02531.

    Example:
        >>> logit_loss(torch.ones(2, 3), torch.ones(2, 3)).item()
        0.0
    """
    log_p = F.log_softmax(student.float() / temperature, dim=-1)
    log_q = F.log_softmax(teacher.float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def total_loss(terms: Mapping[str, Tensor], config: PCLoRAConfig) -> Tensor:
    """``α·task + (1 − α)·(feature + logit_weight·logit)``.

    Args:
        terms: as :meth:`Distiller.terms` returns them.
        config: α and the weight of the logit term.
    """
    distilled = terms["feature"]
    if "logit" in terms:
        distilled = distilled + config.logit_weight * terms["logit"]
    return config.alpha * terms["task"] + (1 - config.alpha) * distilled


class Distiller:
    """Runs student and teacher on a batch and returns the loss terms by name.

    The teacher runs in eval mode without gradients; neither its weights nor its mode change.

    Args:
        student: from :func:`pclora_lab.get_pclora_model`.
        teacher: the dense model that the student was made from.
        config: taps, α, logit term.
        task_loss: logits and labels to one number; see :mod:`pclora_lab.tasks`.

    Raises:
        ValueError: a logit term where the teacher's classes are not the student's.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        config: PCLoRAConfig | None = None,
        *,
        task_loss: TaskLossFunction = classification_loss,
    ) -> None:
        self.student, self.teacher, self.task_loss = student, teacher, task_loss
        self.config = config if config is not None else student.pclora_config
        names = list(student.pclora_targets)
        taps = names if self.config.taps == "linears" else block_names(names)
        self.student_taps = FeatureTaps(student, taps)
        self.teacher_taps = FeatureTaps(teacher, taps)

    def terms(self, inputs: Tensor | Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
        """``task``, ``feature`` and, if weighted, ``logit``.

        Args:
            inputs: one batch, as the model takes it.
            labels: class numbers ``(batch,)``, or what the task's loss takes.
        """
        target = self.teacher_logits(inputs)
        return self.terms_of(call_model(self.student, inputs), target, inputs, labels)

    def terms_of(
        self,
        logits: Tensor,
        target: Tensor,
        inputs: Tensor | Mapping[str, Tensor],
        labels: Tensor,
    ) -> dict[str, Tensor]:
        """The terms of a batch that both models have just seen.

        Args:
            logits: the student's.
            target: the teacher's.
            inputs: the batch, for its padding.
            labels: as in :meth:`terms`.
        """
        terms = {
            "task": self.task_loss(logits, labels),
            "feature": feature_loss(
                self.student_taps.outputs, self.teacher_taps.outputs, real_tokens(inputs)
            ),
        }
        if self.config.logit_weight > 0:
            terms["logit"] = self._logit_term(logits, target)
        return terms

    def teacher_logits(self, inputs: Tensor | Mapping[str, Tensor]) -> Tensor:
        """The teacher's answer, in eval mode and without gradients; its taps fill."""
        with evaluating(self.teacher):
            return call_model(self.teacher, inputs)

    def _logit_term(self, student: Tensor, teacher: Tensor) -> Tensor:
        if student.shape != teacher.shape:
            raise ValueError(
                f"logit_weight is {self.config.logit_weight}, but the teacher has "
                f"{teacher.shape[-1]} classes and the student {student.shape[-1]}: set "
                'logit_weight=0 or teacher="finetune"'
            )
        return logit_loss(student, teacher, self.config.temperature)

    def close(self) -> None:
        """Remove the hooks from both models."""
        self.student_taps.close()
        self.teacher_taps.close()
