"""PC-LoRA inside ``transformers.Trainer``: a callback that moves λ, and the distillation loss."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pclora_lab.methods.pclora.losses import Distiller, total_loss
from pclora_lab.methods.pclora.model import pclora_layers, set_progress
from pclora_lab.nn.task_losses import TaskLossFunction, classification_loss

__all__ = ["DistillationLoss", "PCLoRACallback"]


class PCLoRACallback(TrainerCallback):
    """Sets λ before every optimizer step, and to its last value when the training is over.

    Args:
        student: from :func:`pclora_lab.get_pclora_model`, the trainer's model.

    Example:
        >>> from pclora_lab import PCLoRAConfig, get_pclora_model, load_model
        >>> student = get_pclora_model(load_model("vit_digits"), PCLoRAConfig(rank=4))
        >>> callback = PCLoRACallback(student)
        >>> state = TrainerState(global_step=6, max_steps=10)
        >>> callback.on_step_begin(None, state, None)
        >>> callback.lam
        0.0
    """

    def __init__(self, student: nn.Module) -> None:
        pclora_layers(student)  # refuses a model that has none
        self.student = student
        self.lam = 1.0

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """λ for ``global_step / max_steps``."""
        self.lam = set_progress(self.student, min(1.0, state.global_step / state.max_steps))

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """λ at the end; left where it is if the training was stopped early."""
        self.lam = set_progress(self.student, min(1.0, state.global_step / state.max_steps))


class DistillationLoss:
    """``compute_loss_func`` of a trainer: the task's loss and the teacher's features.

    The trainer hands its loss function the outputs only, so a hook keeps the inputs of the
    student's forward pass, and the teacher is run on the same ones.

    Args:
        student: the trainer's model.
        teacher: the dense model it was made from, on the same device.
        task_loss: see :mod:`pclora_lab.nn.task_losses`.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        task_loss: TaskLossFunction = classification_loss,
    ) -> None:
        self.distiller = Distiller(student, teacher, task_loss=task_loss)
        self.inputs: dict[str, Tensor] = {}

        # A function and no method: whoever copies the student must not copy this object too.
        def keep(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            if module is student:  # a copy of the model took the hook along
                self.inputs = {k: v for k, v in kwargs.items() if isinstance(v, Tensor)}

        self._hook = student.register_forward_pre_hook(keep, with_kwargs=True)

    def __call__(
        self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The total loss of the batch that the student has just seen."""
        inputs = {name: value for name, value in self.inputs.items() if name != "labels"}
        with torch.no_grad():
            target = self.distiller.teacher_logits(inputs)
        terms = self.distiller.terms_of(outputs.logits, target, inputs, labels)
        return total_loss(terms, self.distiller.config)

    def close(self) -> None:
        """Remove the hooks from both models."""
        self._hook.remove()
        self.distiller.close()
