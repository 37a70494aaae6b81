"""What a run works with once its data and its model are read; no teacher is trained here."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from pclora_lab.data.batches import Batches
from pclora_lab.data.cache import DataCache
from pclora_lab.data.splits import LabeledData
from pclora_lab.methods.base import Method, MethodContext
from pclora_lab.methods.trial import ensure_tried
from pclora_lab.models.adapting import head_is_new, preprocessing_of
from pclora_lab.nn.counting import ModelCounts
from pclora_lab.nn.forward import Inputs
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.sizes import Plan
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.tasks.guessing import pinned_name, task_and_data
from pclora_lab.training.checkpoints.kept_scores import kept_scores
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import make_accelerator, resolve_device
from pclora_lab.training.identity.former import former_teacher_key
from pclora_lab.training.identity.hashes import hash_of_model, identity_of
from pclora_lab.training.identity.record import Identity, differences, refuse_changes
from pclora_lab.training.parallel.ranks import ALONE, Ranks
from pclora_lab.training.parallel.same import require_same
from pclora_lab.training.parallel.weighting import task_of_parts
from pclora_lab.training.precision import pinned
from pclora_lab.training.state import Checkpoint
from pclora_lab.training.teacher import key_by_identity, needs_finetuning, teacher_scores

__all__ = ["CALIBRATION_EXAMPLES", "RunSetup", "load_dense", "prepare"]

CALIBRATION_EXAMPLES = 512
_CALIBRATION_BATCH = 64


@dataclass(frozen=True)
class RunSetup:
    """Everything that a run has before its method begins.

    Attributes:
        config: of the run, with the precision that ``auto`` stands for.
        method: bound to its options.
        cache: data of earlier runs in this process.
        data: the three raw splits.
        batches: the same as the model takes them.
        model: the dense model, on the device; the teacher once it fits the data.
        counts: its trace.
        planned: the sizes that the method promises.
        accelerator: device and precision.
        identity: what the run is made from; None where nothing is trained.
        teachers: folder of fine-tuned teachers, each in one by its key; None where there is none,
            or where another process writes.
        ranks: of the processes that train the run.
        task: what is learned.
    """

    config: RunConfig
    method: Method
    cache: DataCache
    data: LabeledData
    batches: dict[str, Batches]
    model: nn.Module
    counts: ModelCounts
    planned: Plan
    accelerator: Accelerator
    identity: Identity | None
    teachers: Path | None = None
    ranks: Ranks = ALONE
    task: Task = IMAGE_CLASSIFICATION

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the outputs stand for, one each; empty where they are no classes."""
        return self.task.class_names(self.data)

    @property
    def needs_teacher(self) -> bool:
        """Whether the dense model is fine-tuned before the method starts from it."""
        return self.method.starts_from == "teacher" and needs_finetuning(self.model, self.config)

    @property
    def has_teacher(self) -> bool:
        """Whether the dense model knows the classes, or will."""
        return self.needs_teacher or not head_is_new(self.model)

    def teacher_scores(self, limit: int | None = None) -> dict[str, float]:
        """Of the dense model, on so many validation examples or on all of the final split."""
        if not self.has_teacher:
            return {}
        # As the student is on the way; the final one in float32, as a saved model is read.
        precision = None if limit is None else self.accelerator

        def measure() -> dict[str, float]:
            shared = (self.cache, self.model, self.batches, self.config)
            return teacher_scores(*shared, limit=limit, accelerator=precision, task=self.task)

        identity = self.identity
        if limit is None and self.teachers and identity is not None and identity.teacher_key:
            folder = self.teachers / identity.teacher_key
            split, metrics = self.config.report_on, self.task.metrics
            return kept_scores(folder, identity, split, metrics, measure)
        return measure()

    def make_student(self, generator: torch.Generator) -> nn.Module:
        """What the method trains, on the device.

        Args:
            generator: draws new weights.
        """
        calibration = _calibration(self.batches["train"], self.accelerator.device)
        context = MethodContext(calibration=calibration, generator=generator, counts=self.counts)
        student = self.method.apply(self.model, context).to(self.accelerator.device)
        return ensure_tried(student, self.model)

    def park_model(self, student: nn.Module) -> None:
        """Move the dense model off the device while nothing needs it there.

        A method of its own losses may imitate it, and a student may share its weights.
        """
        imitates = type(self.method).loss_terms is not Method.loss_terms
        own = {id(tensor) for tensor in self.model.parameters()}
        if not imitates and not any(id(tensor) in own for tensor in student.parameters()):
            self.model.cpu()


def prepare(
    config: RunConfig,
    method: Method,
    cache: DataCache,
    checkpoint: Checkpoint | None,
    *,
    allow_changes: bool = False,
    ranks: Ranks = ALONE,
) -> RunSetup:
    """Read data and model and count what the method will do with them.

    Args:
        config: of the run.
        method: bound to its options.
        cache: data of earlier runs in this process.
        checkpoint: of a run that is taken up.
        allow_changes: take it up even if model, data or settings are not what they were.
        ranks: of the processes that train it.

    Raises:
        ValueError: model and data do not fit each other or the checkpoint.
        RuntimeError: they are not the same in every process.
    """
    task, data = task_and_data(config, cache, is_begun=checkpoint is not None)
    if config.task is None:
        config = replace(config, task=pinned_name(task))
    task = task_of_parts(task, ranks)
    method = method.for_task(task)
    model = load_dense(config, data, task)
    device = resolve_device(config.device)
    # What an older version kept without an identity is known by the settings as they were asked.
    if checkpoint is None or checkpoint.identity is not None:
        begun = None if checkpoint is None else checkpoint.identity
        config = pinned(config, model, device, begun)
    accelerator = make_accelerator(config, model)
    is_compared = method.trains or checkpoint is not None
    where = {"device": device.type, "processes": str(ranks.count)}
    identity = identity_of(model, data, config, where) if is_compared else None
    if identity is not None:
        made_from = {n: getattr(identity, n) for n in ("data", "preprocessing", "weights")}
        require_same(ranks, {**made_from, "precision": config.precision}, "data or models")
    counts = method.count(model)
    planned = method.plan(counts, model)
    model.to(accelerator.device)
    preprocessing = preprocessing_of(model, config.img_size)
    batches = cache.batches(data, preprocessing, config.model, task.batches)
    given = config, method, cache, data, batches, model, counts, planned, accelerator, identity
    setup = RunSetup(*given, ranks=ranks, task=task)
    return setup if checkpoint is None else _compared(setup, checkpoint, allow_changes)


def with_teacher(
    setup: RunSetup,
    checkpoint: Checkpoint | None,
    teachers: Path,
    *,
    allow_changes: bool = False,
) -> RunSetup:
    """The same once the teacher was fine-tuned, or taken from where it is kept.

    Args:
        setup: of the run, with the model fine-tuned.
        checkpoint: of a run that is taken up.
        teachers: folder of fine-tuned teachers.
        allow_changes: take it up even if the teacher is not what it was.

    Raises:
        ValueError: it is another one than the student that is taken up started from.
    """
    if setup.identity is None:
        return setup
    key = setup.identity.teacher_key or key_by_identity(setup.identity, setup.config)
    now = replace(setup.identity, teacher=hash_of_model(setup.model), teacher_key=key)
    taught = replace(setup, identity=now, teachers=teachers if setup.ranks.is_main else None)
    if checkpoint is None or checkpoint.identity is None:
        return taught
    # All but the teacher was compared before.
    known = replace(now, teacher=checkpoint.identity.teacher)
    return _compared(taught, replace(checkpoint, identity=known), allow_changes)


def _compared(setup: RunSetup, checkpoint: Checkpoint, allow_changes: bool) -> RunSetup:
    """The same, with notes about what is not as it was when the run began.

    Raises:
        ValueError: model, data or settings are not, and that is not allowed.
    """
    before, now = checkpoint.identity, setup.identity
    if now is None:
        return setup
    at = f"taken up at step {checkpoint.step}"
    if before is None:
        former = former_teacher_key(setup.model, setup.data, setup.config)
        changed = [] if former == checkpoint.fingerprint else ["the model or the data"]
        notes = [
            f"{at} from a checkpoint of an older version, which can't tell whether all data are "
            "the same: the training labels and about 17 examples were compared"
        ]
    else:
        changed, others = differences(before, now)
        notes = [*before.notes]
        notes += [f"{at} with {', '.join(others)}: the last digits may differ"] if others else []
    if not allow_changes:
        refuse_changes(changed)
    elif changed:
        notes.append(f"{at} although {', '.join(changed)} changed since it began")
    key = before.teacher_key if before is not None and not changed else now.teacher_key
    return replace(setup, identity=replace(now, notes=tuple(notes), teacher_key=key))


def load_dense(
    config: RunConfig, data: LabeledData, task: Task = IMAGE_CLASSIFICATION
) -> nn.Module:
    """The config's model with the head that the task gives it, before any fine-tuning.

    Raises:
        ValueError: it does not read what the data hold, or its new head can't teach outputs.
    """
    # A library draws weights that are replaced at once, from generators that are the caller's.
    with generators_kept():
        model = task.load_model(
            config.model,
            data,
            img_size=config.img_size,
            max_tokens=config.max_tokens,
            split_qkv=config.split_qkv,
            seed=config.teacher_seed,
        )
    logit_weight = getattr(config.method, "logit_weight", None)
    if config.teacher == "pretrained" and logit_weight and head_is_new(model):
        raise ValueError(
            f"logit_weight is {logit_weight}, but the pre-trained head of "
            f"{config.model!r} does not fit the {task.wanted_head(data)} of {config.data!r}: "
            'set logit_weight=0 or teacher="finetune"'
        )
    return model


def _calibration(batches: Batches, device: torch.device) -> Iterator[Inputs]:
    """Some training examples as the model takes them; nothing is read until a method asks."""
    for indices in batches.in_order(_CALIBRATION_BATCH, CALIBRATION_EXAMPLES):
        yield batches.inputs(indices, device)
