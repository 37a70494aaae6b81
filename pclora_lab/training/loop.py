"""One run from start to end, as a generator of events: load, teach, train, finish, measure.

The generator draws nothing, prints nothing and knows no thread. To pause, do not ask for the next
event; to stop, close it. What the method does between its four verbs is not known here.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from pclora_lab.data.batches import Batches
from pclora_lab.data.cache import DataCache
from pclora_lab.data.splits import LabeledData
from pclora_lab.methods.base import Method, MethodContext
from pclora_lab.methods.pclora.schedules import schedule_notes
from pclora_lab.methods.registry import make_method
from pclora_lab.models.adapting import (
    head_is_new,
    head_matches,
    input_kind,
    preprocessing_of,
    reset_head,
)
from pclora_lab.models.hf_models import name_classes
from pclora_lab.models.loading import load_model
from pclora_lab.nn.forward import Inputs
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import make_accelerator, reset_peak_memory, resolve_device
from pclora_lab.training.events import AdapterSnapshot, Event, LogRow, PhaseStart, RunEnd, StepEnd
from pclora_lab.training.lambda_override import LambdaOverride
from pclora_lab.training.metrics import MetricTracker, final_result
from pclora_lab.training.optimizer import make_optimizer, optimization_steps
from pclora_lab.training.state import (
    Checkpoint,
    load_training_state,
    snapshot_note,
    snapshot_steps,
    trained_bytes,
    trained_tensors,
    training_state,
)
from pclora_lab.training.teacher import (
    needs_finetuning,
    teacher_accuracy,
    teacher_key,
    train_teacher,
)

__all__ = ["CALIBRATION_EXAMPLES", "load_dense", "train"]

CALIBRATION_EXAMPLES = 512


_ROWS = 120


def train(
    config: RunConfig,
    root: Path | str = "runs",
    *,
    cache: DataCache | None = None,
    lambda_override: LambdaOverride | None = None,
    checkpoint: Checkpoint | None = None,
) -> Iterator[Event]:
    """Run a configuration.

    Args:
        config: what to do.
        root: folder of runs; fine-tuned teachers are kept in ``root/teachers``.
        cache: data of earlier runs in this process.
        lambda_override: lets another thread take λ into its hand; the config's moves without one.
        checkpoint: go on from there; see :func:`pclora_lab.resume`.

    Yields:
        Phases, a tick per step, history rows, adapters now and then, and at the end one
        :class:`RunEnd`.

    Raises:
        ValueError: anything in the config that does not fit model, data or machine.
        LossDiverged: the loss is no longer finite.
    """
    cache = cache if cache is not None else DataCache()
    method = make_method(config.method)
    if config.overrides and not method.fades:
        raise ValueError(f"{method.title} has no λ to move by hand: leave overrides empty")
    resolve_device(config.device)
    yield PhaseStart("data", 0)
    data = cache.data(config)
    model = load_dense(config, data)
    fingerprint = _fingerprint(method, model, data, config, checkpoint)
    counts = method.count(model)
    planned = method.plan(counts, model)
    accelerator = make_accelerator(config, model)
    model.to(accelerator.device)
    batches = cache.batches(data, preprocessing_of(model, config.img_size), config.model)
    is_taught = method.starts_from == "teacher" and needs_finetuning(model, config)
    has_teacher = is_taught or not head_is_new(model)
    if is_taught:
        teachers = Path(root) / "teachers"
        events = train_teacher(model, data, batches, config, accelerator, teachers)
        # The rows of a teacher that has to be made again are in the history already.
        yield from (e for e in events if checkpoint is None or not isinstance(e, LogRow))
    # Time and memory are the method's own: data and teacher are shared by many runs.
    began = time.perf_counter() - (0.0 if checkpoint is None else checkpoint.seconds)
    reset_peak_memory(accelerator.device)
    yield PhaseStart("start", 0)
    generator = torch.Generator().manual_seed(config.seed)
    calibration = _calibration(batches["train"], accelerator.device)
    context = MethodContext(calibration=calibration, generator=generator, counts=counts)
    student = method.apply(model, context)
    student.to(accelerator.device)
    names = [layer.name for layer in counts.layers]
    reached = None
    if has_teacher:
        reached = teacher_accuracy(cache, model, batches, config, accelerator=accelerator)
    watch = MetricTracker(
        method, student, model, batches, config, accelerator, reached, names, lambda_override
    )
    yield PhaseStart("fade", config.steps if method.trains else 0)
    watch.fingerprint = fingerprint
    yield from _fit(method, student, model, batches["train"], watch, generator, checkpoint)
    yield PhaseStart("test", 0)
    last = batches[config.report_on]
    right = teacher_accuracy(cache, model, batches, config, final=True) if has_teacher else None
    result, small = final_result(method, student, model, last, counts, planned, accelerator, right)
    small.pclora_method = config.method.to_dict()
    seconds = time.perf_counter() - began - watch.paused
    facts = {"seed": config.seed, "lr": config.lr, "steps": config.steps, "seconds": seconds}
    result |= {**facts, "report_on": config.report_on}
    result |= {
        "input": data.kind,
        "class_names": list(data.class_names),
        "notes": [*_data_notes(data, batches), *_run_notes(student, watch)],
        "probe_percent": watch.probe_percent,
        "overrides": [list(move) for move in watch.lambda_override.made],
    }
    small.pclora_class_names = data.class_names
    yield RunEnd(result, small.cpu(), model.cpu())


def _fingerprint(
    method: Method,
    model: nn.Module,
    data: LabeledData,
    config: RunConfig,
    checkpoint: Checkpoint | None,
) -> str:
    """What the run starts from, as a hash; empty for methods that train nothing.

    Raises:
        ValueError: the checkpoint was made from something else.
    """
    if not method.trains:
        return ""
    fingerprint = teacher_key(model, data, config)
    if checkpoint is not None and checkpoint.fingerprint != fingerprint:
        raise ValueError(
            f"the run can't be taken up: {config.model!r} or {config.data!r} is not what it was "
            "when the run began. Put the old files back, or start it again with the same settings"
        )
    return fingerprint


def load_dense(config: RunConfig, data: LabeledData) -> nn.Module:
    """The config's model with a head for the data's classes, before any fine-tuning.

    Raises:
        ValueError: it does not read what the data hold, or its new head can't teach logits.
    """
    model = load_model(
        config.model,
        num_classes=data.num_classes,
        img_size=config.img_size,
        max_tokens=config.max_tokens,
        split_qkv=config.split_qkv,
        generator=torch.Generator().manual_seed(config.teacher_seed),
    )
    if input_kind(model) != data.kind:
        default_config = {"image": "vit_digits", "text": "bert_glosses"}[data.kind]
        raise ValueError(
            f"{config.model!r} reads {input_kind(model)}s, but {config.data!r} holds {data.kind}s: "
            f"choose other data, or a model of {data.kind}s such as {default_config}"
        )
    if not head_matches(model, data.class_names):
        generator = torch.Generator().manual_seed(config.teacher_seed)
        reset_head(model, data.num_classes, generator)
    if model.pclora_recipe.get("library") == "transformers":
        name_classes(model, data.class_names)
    model.pclora_class_names = data.class_names
    logit_weight = getattr(config.method, "logit_weight", 0)
    if config.teacher == "pretrained" and logit_weight > 0 and head_is_new(model):
        raise ValueError(
            f"logit_weight is {logit_weight}, but the pre-trained head of "
            f"{config.model!r} does not fit the {data.num_classes} classes of {config.data!r}: "
            'set logit_weight=0 or teacher="finetune"'
        )
    return model


def _calibration(batches: Batches, device: torch.device) -> Iterator[Inputs]:
    """Some training examples as the model takes them; nothing is read until a method asks."""
    for rows in batches.in_order(64, CALIBRATION_EXAMPLES):
        yield batches.inputs(rows, device)


def _data_notes(data: LabeledData, batches: dict[str, Batches]) -> list[str]:
    """What a person should know about the data that were used."""
    notes = list(data.notes)
    for name, part in batches.items():
        if getattr(part, "cut", 0):
            longest = part.preprocessing.max_tokens
            notes.append(
                f"{part.cut:,} of {len(part):,} texts of {name} are longer than {longest} tokens "
                "and were cut"
            )
    return notes


def _run_notes(student: nn.Module, watch: MetricTracker) -> list[str]:
    """What a person should know about how λ moved and what was kept."""
    config, notes = watch.config, []
    if hasattr(config.method, "schedule"):
        notes += schedule_notes(config.method.schedule)
    if watch.override_in_force:
        notes.append(
            f"λ was held at {watch.override_in_force:.2f} until the training ended; the base was "
            "removed all the same, from one step to the next"
        )
    if watch.method.supports_replay and config.snapshots:
        kept, wanted = len(_kept_steps(student, config)), min(config.snapshots, config.steps + 1)
        each = trained_bytes(student)
        notes.append(snapshot_note(kept, wanted, each, config.snapshot_mb))
    return [note for note in notes if note]


def _kept_steps(student: nn.Module, config: RunConfig) -> tuple[int, ...]:
    most = 1e6 * config.snapshot_mb
    return snapshot_steps(config.steps, config.snapshots, trained_bytes(student), most)


def _fit(
    method: Method,
    student: nn.Module,
    teacher: nn.Module,
    train_batches: Batches,
    watch: MetricTracker,
    generator: torch.Generator,
    checkpoint: Checkpoint | None = None,
) -> Iterator[Event]:
    """The method's own training, with a history row now and then."""
    config = watch.config
    if not method.trains:
        yield LogRow(watch.row(config.steps, {}))
        return
    kept = set(_kept_steps(student, config)) if method.supports_replay else set()
    optimizer = make_optimizer(student, config.weight_decay)
    first = 0 if checkpoint is None else checkpoint.step
    if checkpoint is None:
        watch.set_step(0)
        if 0 in kept:
            yield _keep(0, watch)
        yield LogRow(watch.row(0, {}))
    # Before a checkpoint is read: some losses remember where the student began.
    losses = method.loss_terms(student, teacher)
    if checkpoint is not None:
        _restore(checkpoint, watch, optimizer)

    def loss(inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        return losses(inputs, labels, watch.progress)

    steps = optimization_steps(
        student,
        loss,
        train_batches,
        config,
        watch.accelerator,
        steps=config.steps,
        peak_lr=config.lr,
        log_every=max(1, config.steps // _ROWS),
        generator=generator,
        before_step=watch.set_step,
        after_backward=lambda: method.after_backward(student),
        optimizer=optimizer,
        first=first,
    )
    try:
        for step, means in enumerate(steps, start=first + 1):
            saves = partial(_checkpoint, step, watch, optimizer)
            if means is not None:
                yield LogRow(watch.row(step, means))
            if step in kept:
                yield _keep(step, watch)
            # Last, so that all there is to tell about a step is told when it is checkpointed.
            with watch.waiting():
                yield StepEnd("fade", step, config.steps, saves)
    finally:
        losses.close()


def _checkpoint(step: int, watch: MetricTracker, optimizer: torch.optim.Optimizer) -> Checkpoint:
    return Checkpoint(
        step=step,
        fingerprint=watch.fingerprint,
        overrides=watch.lambda_override.made_and_planned(step),
        base_dropped=watch.base_dropped,
        evaluated=watch.evaluated,
        seconds=watch.seconds,
        probe_seconds=0.0 if watch.layers is None else watch.layers.seconds,
        tensors=training_state(watch.student, optimizer, watch.method.state_dict(watch.student)),
    )


def _restore(
    checkpoint: Checkpoint, watch: MetricTracker, optimizer: torch.optim.Optimizer
) -> None:
    """Student, optimizer and watch as they were after that step."""
    student, method = watch.student, watch.method
    if checkpoint.base_dropped and method.without_base(student) is not None:
        method.set_progress(student, 1.0)
    method.load_state_dict(student, load_training_state(student, optimizer, checkpoint.tensors))
    watch.restore(checkpoint)


def _keep(step: int, watch: MetricTracker) -> AdapterSnapshot:
    return AdapterSnapshot(step, watch.facts.get("lam", 0.0), trained_tensors(watch.student))
