"""PC-LoRA's loss: named terms of a student that imitates its teacher, and their weighted sum.

The terms stay apart until :func:`total_loss`, so that a plot can show each one."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab.methods.distillation.taps import FeaturePair, refuse_replicas
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import pclora_config, pclora_targets
from pclora_lab.nn.forward import Inputs, call_model, eval_mode, token_mask
from pclora_lab.nn.layers.wrappers import innermost
from pclora_lab.nn.surgery import block_names
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.tasks.losses import TaskLossFunction, classification_loss, logit_loss

__all__ = ["DistillationTerms", "Distiller", "total_loss"]


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

    In a training of several processes each sees a part of the batch, and its terms are means over
    that part. ``DistributedDataParallel`` averages the gradients, which is the whole batch's
    gradient where the parts are of equal size. Where they are not, multiply the loss by
    ``processes · own examples / all examples``. A part of a batch of texts weighs as its examples,
    however many of its tokens are padding.

    Args:
        student: from :func:`pclora_lab.get_pclora_model`; if it is wrapped, the wrapper is run.
        teacher: the dense model that the student was made from.
        config: taps, α, logit term.
        task_loss: outputs and labels to one number; see :mod:`pclora_lab.tasks.losses`.
        imitation_loss: the student's outputs, the teacher's and a temperature to one number.
        imitated: which of the outputs it is given, with the labels; None gives all.

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
        imitation_loss: Callable[[Tensor, Tensor, float], Tensor] = logit_loss,
        imitated: Callable[[Tensor, Any], Tensor] | None = None,
    ) -> None:
        self._forward, self.student = student, innermost(student)
        self.teacher, self.task_loss = teacher, task_loss
        self.imitation_loss, self.imitated = imitation_loss, imitated
        self.config = config if config is not None else pclora_config(student)
        names = pclora_targets(self.student)
        taps = names if self.config.taps == "linears" else block_names(names)
        self.features = FeaturePair(self.student, teacher, taps)

    def terms(
        self, inputs: Inputs, labels: Tensor, *, forward: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """``task``, ``feature`` and, if weighted, ``logit``.

        Args:
            inputs: one batch, as the model takes it.
            labels: class numbers ``(batch,)``, or what the task's loss takes.
            forward: what runs the student, where it was wrapped after this object was made: the
                result of ``torch.compile``, ``DistributedDataParallel`` or ``accelerator.prepare``.

        Raises:
            ValueError: the wrapper runs another model, or copies of the student.
        """
        forward = self._forward if forward is None else forward
        if innermost(forward) is not self.student:
            raise ValueError(
                f"forward runs another {type(innermost(forward)).__name__} than the student of "
                "this Distiller: pass what the student itself was wrapped in"
            )
        refuse_replicas(forward)
        with self.features.comparing(_compared_tokens(inputs)):
            target = self.teacher_logits(inputs)
            logits = call_model(forward, inputs)
        return self.terms_of(logits, target, inputs, labels)

    def terms_of(
        self,
        logits: Tensor,
        target: Tensor,
        inputs: Inputs,
        labels: Tensor,
    ) -> dict[str, Tensor]:
        """The terms of a batch that both models have seen since ``features.record()``.

        The recorded features are let go here; later, nothing is held.

        Args:
            logits: the student's.
            target: the teacher's.
            inputs: the batch, for its padding.
            labels: as in :meth:`terms`.

        Raises:
            ValueError: one of the two has not run, or not the same layers as often.
        """
        feature = self.features.loss(_compared_tokens(inputs))
        terms = {"task": self.task_loss(logits, labels), "feature": feature}
        if self.config.logit_weight > 0:
            terms["logit"] = self._logit_term(logits, target, labels)
        return terms

    def teacher_logits(self, inputs: Inputs) -> Tensor:
        """The teacher's answer, in eval mode and without gradients."""
        with eval_mode(self.teacher):
            return call_model(self.teacher, inputs)

    def _logit_term(self, student: Tensor, teacher: Tensor, labels: Any) -> Tensor:
        if student.shape != teacher.shape:
            raise ValueError(
                f"logit_weight is {self.config.logit_weight}, but the teacher has "
                f"{teacher.shape[-1]} classes and the student {student.shape[-1]}: set "
                'logit_weight=0 or teacher="finetune"'
            )
        if self.imitated is not None:
            student, teacher = (self.imitated(one, labels) for one in (student, teacher))
        return self.imitation_loss(student, teacher, self.config.temperature)

    def close(self) -> None:
        """Remove the hooks from both models."""
        self.features.close()


def _compared_tokens(inputs: Inputs) -> Tensor | None:
    """Where there is no padding; all of it where a batch of texts came without a mask."""
    if isinstance(inputs, Tensor) or "pixel_values" in inputs or "input_ids" not in inputs:
        return None
    mask = token_mask(inputs)
    # One sum for every batch, so that leaving a mask out does not change the last digit.
    return torch.ones_like(inputs["input_ids"], dtype=torch.bool) if mask is None else mask


class DistillationTerms:
    """α·task + (1 − α)·distillation of a batch, as the student's config says.

    Args:
        student: from :func:`pclora_lab.get_pclora_model`.
        teacher: the dense model that the student was made from.
        task: whose losses are taken.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, task: Task = IMAGE_CLASSIFICATION
    ) -> None:
        self.distiller = Distiller(
            student, teacher, task_loss=task.loss, imitation_loss=task.imitation_loss,
            imitated=task.imitated,
        )  # fmt: skip

    def __call__(self, inputs: Inputs, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """``loss`` and the terms that it is made of."""
        terms = self.distiller.terms(inputs, labels)
        return {"loss": total_loss(terms, self.distiller.config), **terms}

    def close(self) -> None:
        """Remove the hooks from both models."""
        self.distiller.close()
