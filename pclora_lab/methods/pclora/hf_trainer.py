"""PC-LoRA inside ``transformers.Trainer``: a callback that moves λ, and the distillation loss."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pclora_lab.methods.base import check_lr
from pclora_lab.methods.pclora.fading import lambda_jumps
from pclora_lab.methods.pclora.hf_rows import complete_rows_first
from pclora_lab.methods.pclora.losses import Distiller, total_loss
from pclora_lab.methods.pclora.model import pclora_config, pclora_layers, set_progress
from pclora_lab.methods.pclora.removal import drop_base
from pclora_lab.methods.pclora.schedules import base_weight_factor, fade_is_over
from pclora_lab.nn.layers.finite import NotFinite, check_weights_finite, first_not_finite
from pclora_lab.nn.layers.wrappers import innermost
from pclora_lab.tasks.losses import TaskLossFunction, classification_loss, language_model_loss

__all__ = ["DistillationLoss", "PCLoRACallback"]

complete_rows_first()

# What the trainer gives a model beside its inputs.
_NO_INPUTS = ("labels", "num_items_in_batch", "return_dict")


class DistillationLoss:
    """``compute_loss_func`` of a trainer: the task's loss and the teacher's features.

    The trainer hands its loss function the outputs only, so a hook keeps the inputs of the
    student's forward pass, and the teacher is run on the same ones.

    With gradient accumulation or several processes every term of a batch is weighted with its share
    of the labels of the whole step, as transformers' own losses are: k batches give what one of
    k times the size would. Texts of unequal length are padded batch by batch, and the feature term
    is a mean over a batch's real tokens: a batch weighs as its examples, however long they are. A
    batch in which no label counts has a task's loss of 0; its features are imitated where it is a
    step of its own, and weigh nothing among others.

    Without gradients (evaluation) the loss is the task's alone, and no teacher is run.

    Args:
        student: the trainer's model.
        teacher: the dense model it was made from; it goes where the student goes.
        task_loss: see :mod:`pclora_lab.tasks.losses`.

    Raises:
        ValueError: when it is called: the trained model is not the student.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        task_loss: TaskLossFunction = classification_loss,
    ) -> None:
        student = innermost(student)
        self.distiller = Distiller(student, teacher, task_loss=task_loss)
        self.inputs: dict[str, Any] = {}
        self._sums: dict[str, Tensor] = {}

        # A function and no method: whoever copies the student must not copy this object too.
        def keep(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            if module is student:  # a copy of the model took the hook along
                self.inputs = {}
                if torch.is_grad_enabled():
                    self.inputs = _named(module, args, kwargs)
                    self.distiller.features.record()

        self._hook = student.register_forward_pre_hook(keep, with_kwargs=True)

    def __call__(
        self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The total loss of the batch that the student has just seen.

        Args:
            outputs: the student's.
            labels: ``(batch,)``, or what the task's loss takes; −100 does not count.
            num_items_in_batch: labels that count in all batches of the step, on all processes; None
                where the loss is that of this batch alone.
        """
        share = self._share(labels, num_items_in_batch)
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
        if not torch.is_grad_enabled():
            return share * self.distiller.task_loss(logits, labels)
        inputs, self.inputs = self.inputs, {}
        if not inputs:
            raise ValueError(
                "the student of this DistillationLoss was not run: the trainer has another model "
                "(model_init, or a DataParallel replica). Make the loss for the trainer's model, "
                "and start one process for each GPU"
            )
        with torch.no_grad():
            target = self.distiller.teacher_logits(inputs)
        terms = self.distiller.terms_of(logits, target, inputs, labels)
        self._add(terms, share)
        return share * total_loss(terms, self.distiller.config)

    def _share(self, labels: Tensor, items: Tensor | int | None) -> Tensor | float:
        """How much of the step this batch is, in labels that count."""
        if items is None:
            return 1.0
        shifts = self.distiller.task_loss is language_model_loss
        counted = labels[..., 1:] if shifts else labels
        here = counted.ne(-100).sum()
        # A step without any label that counts teaches nothing, instead of 0/0 everything.
        if isinstance(items, Tensor):
            return here / items.to(here.device).clamp_min(1)
        return here / max(1, items)

    def _add(self, terms: Mapping[str, Tensor], share: Tensor | float) -> None:
        weighted = {name: (share * value).detach() for name, value in terms.items()}
        weighted["share"] = torch.as_tensor(share, device=weighted["task"].device)
        for name, value in weighted.items():
            self._sums[name] = self._sums.get(name, 0) + value

    def take_means(self) -> dict[str, float]:
        """Mean of each term over this process's examples since the last call; empty without any."""
        sums, self._sums = self._sums, {}
        weight = float(sums.pop("share", 0.0))
        return {name: float(value) / weight for name, value in sums.items()} if weight else {}

    def close(self) -> None:
        """Remove the hooks from both models."""
        self._hook.remove()
        self.inputs = {}
        self.distiller.close()


def _named(module: nn.Module, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A forward pass's inputs by name, whatever way they came."""
    names = list(inspect.signature(module.forward).parameters)
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    return {n: v for n, v in given.items() if n not in _NO_INPUTS and v is not None}


class PCLoRACallback(TrainerCallback):
    """Sets λ before every optimizer step, and drops the base once λ is 0 for good.

    It moves the model that the trainer has, so it also serves ``model_init``. Until λ is 0 no
    evaluation counts as the best one: ``load_best_model_at_end`` and early stopping never compare a
    student that leans on its base with one that does not.

    With ``reset_moments`` in the student's config, a jump of λ clears the optimizer's moments, and
    the learning rate rises again over the warm-up's steps (a twentieth of all without one).

    Wherever a step is logged, evaluated or saved, and at the end, the weights must be finite: the
    trainer itself logs another loss in place of a NaN and saves whatever there is.

    Every logged row gets ``lam`` and, with a ``loss``, the mean of each of its terms, before any
    callback sees it: they are in ``state.log_history``, and ``report_to`` sends them.

    Args:
        student: from :func:`pclora_lab.get_pclora_model`; None with ``model_init``.
        loss: the trainer's, so that its terms are logged.

    Raises:
        ValueError: no student; from ``on_train_begin``: the best model is to be loaded, but λ is 0
            in no evaluation, a learning rate that no optimizer can take a step with, or a student
            that has lost its base in an earlier training.
        NotFinite: from a step or the end of the training: a weight is NaN or infinite.

    Example:
        >>> from pclora_lab import PCLoRAConfig, get_pclora_model, load_model
        >>> student = get_pclora_model(load_model("vit_digits"), PCLoRAConfig(rank=4))
        >>> callback = PCLoRACallback(student)
        >>> state = TrainerState(global_step=6, max_steps=10)
        >>> callback.on_step_begin(None, state, None)
        >>> callback.lam
        0.0
    """

    def __init__(
        self, student: nn.Module | None = None, *, loss: DistillationLoss | None = None
    ) -> None:
        if student is not None:
            pclora_layers(student)  # refuses a model that has none
        self.student, self.loss, self.lam = student, loss, 1.0
        self._trained_lam = 1.0
        self._cleared: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuses rates without bound, and what would choose a student by what its base can do."""
        student = self._trained(kwargs)
        for rate in _rates(args, kwargs.get("optimizer")):
            check_lr("learning_rate", rate)
        self.lam = self._trained_lam = float(next(iter(pclora_layers(student).values())).lam)
        first = _lam_at(student, state.global_step, state.max_steps)
        if first > 0 and any(layer.base is None for layer in pclora_layers(student).values()):
            raise ValueError(
                f"this training begins at λ = {first:.2g}, but the student lost its base when λ "
                "reached 0 in an earlier one: make a new student with get_pclora_model"
            )
        last = _lam_at(student, state.max_steps - 1, state.max_steps)
        if getattr(args, "load_best_model_at_end", False) and last > 0:
            raise ValueError(
                f"load_best_model_at_end: λ is still {last:.2g} at the last of "
                f"{state.max_steps} steps, so no evaluation sees the student without its base. Use "
                "fade_end=0.6, more steps, or load_best_model_at_end=False"
            )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """λ for ``global_step / max_steps``."""
        self._forget_best(state)
        self._move(state, kwargs)
        before, self._trained_lam = self._trained_lam, self.lam
        optimizer, asked = (
            kwargs.get("optimizer"),
            pclora_config(self._trained(kwargs)).reset_moments,
        )
        if asked and optimizer is not None and lambda_jumps(before, self.lam):
            optimizer.state.clear()
            self._cleared = state.global_step

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A rate that rises again while moments are young; the scheduler sets the next one."""
        if self._cleared is None:
            return
        rising = max(1, args.get_warmup_steps(state.max_steps) or state.max_steps // 20)
        share = (state.global_step - self._cleared + 1) / rising
        for group in kwargs["optimizer"].param_groups:
            group["lr"] *= min(1.0, share)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """What is logged, evaluated or saved now belongs to the λ of the steps done so far."""
        self._move(state, kwargs)
        asked = ("should_log", "should_evaluate", "should_save", "should_training_stop")
        is_last = state.global_step >= state.max_steps
        if is_last or any(getattr(control, what, False) for what in asked):
            self._check_finite(args, state, kwargs)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A checkpoint at λ > 0 is never the best one."""
        self._forget_best(state)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """λ for the steps that are done, and the terms of the loss since the last row."""
        logs = kwargs.get("logs", {})
        self.complete_row(state, logs)
        if "train_runtime" in logs:  # the best model is loaded after this
            self._forget_best(state)

    def complete_row(self, state: TrainerState, logs: dict[str, float]) -> None:
        """Add λ and the terms of the loss to a row; once more adds nothing new.

        Args:
            state: the trainer's, whose history has the row already.
            logs: the row.
        """
        row = {"lam": self.lam, **(self.loss.take_means() if self.loss else {})}
        logs.update(row)
        if state.log_history:
            state.log_history[-1].update(row)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """λ at the end; left where it is if the training was stopped early."""
        self._move(state, kwargs)
        check_weights_finite(self._trained(kwargs), _cure(args))

    def _trained(self, given: Mapping[str, Any]) -> nn.Module:
        model = given.get("model") if given.get("model") is not None else self.student
        if model is None:
            raise ValueError("PCLoRACallback has no student: pass one, or give it to a Trainer")
        unwrapped = extract_model_from_parallel(model, keep_torch_compile=False)
        pclora_layers(unwrapped)
        return unwrapped

    def _check_finite(
        self, args: TrainingArguments, state: TrainerState, given: Mapping[str, Any]
    ) -> None:
        named = self._trained(given).named_parameters()
        name = first_not_finite((n, p) for n, p in named if p.requires_grad)
        if name is not None:
            raise NotFinite(f"{name} was not finite after step {state.global_step}: {_cure(args)}")

    def _move(self, state: TrainerState, given: Mapping[str, Any]) -> None:
        student, progress = self._trained(given), min(1.0, state.global_step / state.max_steps)
        self.lam = set_progress(student, progress)
        config = pclora_config(student)
        if fade_is_over(progress, config.schedule, config.fade_end):
            drop_base(student, allow_unfaded=True)

    def _forget_best(self, state: TrainerState) -> None:
        if self._trained_lam > 0:
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None


def _rates(args: TrainingArguments | None, optimizer: Any) -> Iterator[float]:
    """What the optimizer's steps begin with; a scheduler may have set the first one to 0."""
    for group in getattr(optimizer, "param_groups", ()):
        yield from (float(group[key]) for key in ("lr", "initial_lr") if group.get(key, 0) > 0)
    if optimizer is None and args is not None and args.learning_rate > 0:
        yield args.learning_rate


def _cure(args: TrainingArguments | None) -> str:
    rate = getattr(args, "learning_rate", None)
    than = "" if rate is None else f" than {rate:g} (a third of it)"
    return (
        f"train again from the last checkpoint before it, with a smaller learning_rate{than}, more "
        "warmup_steps, a smaller max_grad_norm, or without fp16"
    )


def _lam_at(student: nn.Module, step: int, steps: int) -> float:
    config = pclora_config(student)
    return base_weight_factor(max(0, step) / steps, config.schedule, config.fade_end)
