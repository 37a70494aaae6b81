"""The dense model a student learns from: taken as given, or fine-tuned once and kept."""

import contextlib
import json
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pclora_lab.data.batches import Batches
from pclora_lab.data.cache import DataCache, stamp
from pclora_lab.data.splits import LabeledData, hash_of_texts
from pclora_lab.fields import Part, values_of
from pclora_lab.files import file_stamp
from pclora_lab.methods.registry import make_method
from pclora_lab.models.adapting import head_is_new, preprocessing_of
from pclora_lab.nn.forward import Inputs, call_model
from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.remarks import remark
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.tasks.registry import key_facts
from pclora_lab.training.checkpoints.kept_teacher import (
    keep_teacher,
    load_kept_teacher,
    take_kept_teacher,
)
from pclora_lab.training.checkpoints.teacher_lock import lock_teacher
from pclora_lab.training.checkpoints.teacher_progress import TeacherProgress
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import evaluate
from pclora_lab.training.events import Event, LogRow, PhaseStart, Row, StepEnd
from pclora_lab.training.identity.former import former_teacher_key
from pclora_lab.training.identity.hashes import hash_of_architecture, hash_of_model
from pclora_lab.training.identity.record import Identity
from pclora_lab.training.measuring_plan import teacher_examples, teacher_readings
from pclora_lab.training.optimizer import LossDiverged, Meter, make_optimizer, optimization_steps
from pclora_lab.training.parallel.ranks import ALONE, Ranks
from pclora_lab.training.parallel.same import require_same
from pclora_lab.training.parallel.shards import send_weights
from pclora_lab.training.precision import LossScaler
from pclora_lab.wording import explained

__all__ = ["key_by_identity", "needs_finetuning", "read_teacher", "teacher_key", "teacher_scores"]
__all__ += ["train_teacher"]

_WEIGHTS = "model.safetensors"


def needs_finetuning(model: nn.Module, config: RunConfig) -> bool:
    """``auto`` fine-tunes where the head is new; ``finetune`` always; ``pretrained`` never."""
    if config.teacher == "auto":
        return head_is_new(model)
    return config.teacher == "finetune"


def teacher_key(model: nn.Module, data: LabeledData, config: RunConfig) -> str:
    """A hash of all that determines a fine-tuned teacher.

    Rank, schedule, start and the run's own seed are not part of it, so such runs share one.
    """
    hashes = {
        "weights": hash_of_model(model),
        "architecture": hash_of_architecture(model),
        "preprocessing": preprocessing_of(model, config.img_size).fingerprint(),
        "data": data.fingerprint(),
    }
    return _key(hashes, config)


def key_by_identity(identity: Identity, config: RunConfig) -> str:
    """The same from hashes that were made before."""
    names = ("weights", "architecture", "preprocessing", "data")
    return _key({name: getattr(identity, name) for name in names}, config)


def _key(hashes: Mapping[str, str], config: RunConfig) -> str:
    settings = values_of(config, Part.TEACHER, stored=True)
    facts = {name.removeprefix("teacher_"): value for name, value in settings.items()}
    facts |= key_facts(config.task)
    return hash_of_texts(json.dumps({**facts, **hashes}, sort_keys=True))


def train_teacher(
    model: nn.Module,
    data: LabeledData,
    batches: dict[str, Batches],
    config: RunConfig,
    accelerator: Accelerator,
    folder: Path,
    *,
    allow_former: bool = False,
    begun_with: str = "",
    ranks: Ranks = ALONE,
    task: Task = IMAGE_CLASSIFICATION,
) -> Iterator[Event]:
    """Fine-tune the whole model on the data, in place, or load it if it was done before.

    A fine-tuning that was stopped or killed is taken up.

    Args:
        model: on the accelerator's device; changed in place.
        data: for the fingerprint.
        batches: of ``train`` and ``validation``.
        config: steps, learning rate, seed of the teacher.
        accelerator: device and precision.
        folder: where teachers are kept, one folder by key.
        allow_former: take what an older version kept, for a run that began with it.
        begun_with: key of the teacher that a run began with, which another version of a library
            keeps under another one.
        ranks: of the processes that fine-tune it; the first looks for it and keeps it.
        task: that it learns.
    """
    kept = folder / teacher_key(model, data, config)
    former = folder / former_teacher_key(model, data, config) if allow_former else None
    # A checkpoint that was edited must not lead elsewhere.
    is_other = begun_with.isalnum() and begun_with != kept.name
    before = folder / begun_with if is_other else None
    with contextlib.ExitStack() as locked:
        looking = _found(model, kept, before, former, locked)
        log = yield from ranks.while_main(looking, PhaseStart("waiting", 0))
        if log is None:
            yield from _finetune(model, batches, config, accelerator, kept, ranks, task)
            return
    send_weights(model, ranks)
    yield PhaseStart("teacher", 0)
    yield from (LogRow(values) for values in log)


def _found(
    model: nn.Module,
    kept: Path,
    before: Path | None,
    former: Path | None,
    locked: contextlib.ExitStack,
) -> Generator[Event, None, list[Row] | None]:
    """The rows of a teacher that is kept, in the model now; None where the lock to make it is had.

    Args:
        model: gets its weights.
        kept: folder of the teacher.
        before: that a run began with, under another version of a library.
        former: where an older version kept it.
        locked: lets the lock go.
    """
    stamp = file_stamp(kept / _WEIGHTS)
    log = take_kept_teacher(model, before) if before is not None else None
    log = take_kept_teacher(model, kept) if log is None else log
    if log is None and former is not None:
        log = take_kept_teacher(model, former, of_older_version=True)
    if log is not None:
        return log
    lock = yield from lock_teacher(kept)
    locked.callback(lock.release)
    if file_stamp(kept / _WEIGHTS) != stamp:  # somebody else has made it meanwhile
        return take_kept_teacher(model, kept)
    return None


def read_teacher(model: nn.Module, data: LabeledData, config: RunConfig, folder: Path) -> nn.Module:
    """Put the weights of a fine-tuned teacher that was kept into the model.

    Raises:
        ValueError: it was not kept, has been removed, or is not what was written.
    """
    for key_of in (teacher_key, former_teacher_key):
        kept, is_former = folder / key_of(model, data, config), key_of is former_teacher_key
        if (kept / _WEIGHTS).is_file():
            load_kept_teacher(model, kept, of_older_version=is_former)
            return model
    raise ValueError(f"the fine-tuned teacher of this run is not in {folder} any more")


def _finetune(
    model: nn.Module,
    batches: dict[str, Batches],
    config: RunConfig,
    accelerator: Accelerator,
    kept: Path,
    ranks: Ranks,
    task: Task,
) -> Iterator[Event]:
    """All steps that are left, and the teacher that comes out is kept."""
    optimizer = make_optimizer(model, config.weight_decay)
    meter = Meter(accelerator.device, f"teacher_lr={config.teacher_lr:g}")
    scaler, writes = LossScaler(accelerator), ranks.is_main
    progress = TeacherProgress(kept, model, optimizer, meter, scaler, writes=writes)
    progress.take_up(config.teacher_steps)
    require_same(ranks, {"step": progress.step}, "checkpoints of the teacher")
    yield PhaseStart("teacher", config.teacher_steps)
    yield from [LogRow(row) for row in progress.log]
    try:
        for step, means in _steps(progress, batches["train"], config, accelerator, ranks, task):
            row = None
            if means is not None:
                scores = _reading(task, model, batches["validation"], config, accelerator)
                row = {**_position(step, config), **scores, **means}
            progress.note(step, row)
            if row is not None:
                yield LogRow(row)
            yield StepEnd("teacher", step, config.teacher_steps)
    except GeneratorExit:
        progress.save()
        raise
    except LossDiverged:
        progress.remove()  # going on from it would only diverge again
        raise
    except NotFinite as error:
        progress.remove()
        raise meter.diverged(str(error)) from error
    try:
        if writes:
            keep_teacher(model, kept, progress.log, config)
        progress.remove()
    except OSError as error:
        progress.save()
        remark(
            f"the fine-tuned teacher {kept.name} can't be kept ({explained(error)}): the run "
            "goes on with it, and another run that needs it fine-tunes it again"
        )


def _steps(
    progress: TeacherProgress,
    batches: Batches,
    config: RunConfig,
    accelerator: Accelerator,
    ranks: Ranks,
    task: Task,
) -> Iterator[tuple[int, dict[str, float | None] | None]]:
    model = progress.model

    def task_loss(inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        loss = task.loss(call_model(model, inputs), labels)
        return {"loss": loss, "task": loss}

    steps = optimization_steps(
        model,
        task_loss,
        batches,
        config,
        accelerator,
        steps=config.teacher_steps,
        peak_lr=config.teacher_lr,
        logged=teacher_readings(config),
        generator=torch.Generator().manual_seed(config.teacher_seed),
        lr_name="teacher_lr",
        optimizer=progress.optimizer,
        meter=progress.meter,
        scaler=progress.scaler,
        first=progress.step,
        ranks=ranks,
        units=task.units,
    )
    return enumerate(steps, start=progress.step + 1)


def _position(step: int, config: RunConfig) -> Row:
    return {"phase": "teacher", "step": step, "steps": config.teacher_steps}


def _reading(
    task: Task, model: nn.Module, batches: Batches, config: RunConfig, accelerator: Accelerator
) -> dict[str, float]:
    limit, size = teacher_examples(config), config.eval_batch_size
    return evaluate(task, model, batches, accelerator, limit=limit, batch_size=size)


def teacher_scores(
    cache: DataCache,
    teacher: nn.Module,
    batches: dict[str, Batches],
    config: RunConfig,
    *,
    limit: int | None = None,
    accelerator: Accelerator | None = None,
    task: Task = IMAGE_CLASSIFICATION,
) -> dict[str, float]:
    """The task's metrics of the dense model; read once for all runs that share it.

    Args:
        cache: keeps them.
        teacher: the dense model.
        batches: the three splits.
        config: of the run.
        limit: on so many validation examples; None reads all of the final split.
        accelerator: for its precision; without it in float32, as a saved model is read.
        task: says what is measured.
    """
    split = config.report_on if limit is None else "validation"
    facts = tuple(values_of(config, Part.DATA, Part.TEACHER, Part.DENSE).values())
    # Methods that start from the pre-trained model see it before any fine-tuning.
    facts += (stamp(config.model), stamp(config.data))
    key = (*facts, make_method(config.method).starts_from, split, limit)
    size = config.eval_batch_size

    def measure() -> dict[str, float]:
        return evaluate(task, teacher, batches[split], accelerator, limit=limit, batch_size=size)

    return cache.once(key, measure)
