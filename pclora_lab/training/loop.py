"""One run from start to end, as a generator of events: load, teach, train, finish, measure.

The generator draws nothing and prints nothing; its one thread decodes pictures ahead for a GPU.
To pause, do not ask for the next event; to stop, close it. What the method does between its verbs
is not known here.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pclora_lab.data.batches import Batches
from pclora_lab.data.cache import DataCache
from pclora_lab.data.splits import LabeledData
from pclora_lab.files import given_path
from pclora_lab.methods.base import Method
from pclora_lab.methods.pclora.schedules import schedule_notes
from pclora_lab.methods.registry import make_method
from pclora_lab.nn.metadata import set_metadata
from pclora_lab.nn.runtime.freed_memory import freed_memory_kept
from pclora_lab.tasks.guessing import guessed_because
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import (
    device_errors_explained,
    reset_peak_memory,
    resolve_device,
)
from pclora_lab.training.events import (
    Event,
    LogRow,
    PhaseStart,
    Planned,
    Resolved,
    RunEnd,
    TaskGuessed,
)
from pclora_lab.training.fit import Fit, kept_steps
from pclora_lab.training.lambda_override import LambdaDriver, LambdaOverride
from pclora_lab.training.measuring.cost_plan import planned_phases
from pclora_lab.training.measuring.metrics import MetricTracker
from pclora_lab.training.parallel.launch import join
from pclora_lab.training.parallel.ranks import Ranks
from pclora_lab.training.result import final_result
from pclora_lab.training.setup import RunSetup, prepare, with_teacher
from pclora_lab.training.state import Checkpoint, snapshot_note, trained_bytes
from pclora_lab.training.teacher import train_teacher

__all__ = ["train"]


def train(
    config: RunConfig,
    root: Path | str = "runs",
    *,
    cache: DataCache | None = None,
    lambda_override: LambdaOverride | None = None,
    checkpoint: Checkpoint | None = None,
    allow_changes: bool = False,
) -> Iterator[Event]:
    """Run a configuration.

    Under ``torchrun`` or ``accelerate launch`` each process computes its part of every batch, and
    all yield the same events; the first one keeps the teacher. A hand on λ must do the same in all.

    Args:
        config: what to do.
        root: folder of runs; fine-tuned teachers are kept in ``root/teachers``.
        cache: data of earlier runs in this process.
        lambda_override: lets another thread take λ into its hand; the config's moves without one.
        checkpoint: go on from there; see :func:`pclora_lab.resume`.
        allow_changes: also where model, data or settings are not what they were.

    Yields:
        Phases and what they cost, a tick per step, history rows, adapters now and then, and at the
        end one :class:`RunEnd`.

    Raises:
        ValueError: anything in the config that does not fit model, data or machine.
        RuntimeError: several processes that can't find each other, or that train different runs.
        LossDiverged: the loss is no longer finite.
    """
    root = given_path(root, "root")
    ranks = join(config, None if checkpoint is None else checkpoint.step)
    cache = cache if cache is not None else DataCache()
    method = _checked_method(config)
    override = lambda_override if lambda_override else LambdaOverride(config.overrides)
    events = _events(
        config, method, root, cache, override, checkpoint, ranks, allow_changes=allow_changes
    )
    yield from ranks.in_step(events, RunEnd)


def _events(
    config: RunConfig,
    method: Method,
    root: Path,
    cache: DataCache,
    override: LambdaOverride,
    checkpoint: Checkpoint | None,
    ranks: Ranks,
    *,
    allow_changes: bool,
) -> Generator[Event, None, None]:
    """All phases, from data to result."""
    device, given = resolve_device(config.device), (config, method, cache, checkpoint)
    yield PhaseStart("data", 0)
    kept = freed_memory_kept() if device.type == "cpu" else nullcontext()
    with device_errors_explained(config), kept:
        setup = prepare(*given, allow_changes=allow_changes, ranks=ranks)
        if setup.config != config:
            yield Resolved(setup.config)
        if config.task is None and checkpoint is None:
            yield TaskGuessed(setup.task.name, guessed_because(setup.task))
        yield Planned(planned_phases(setup))
        if setup.needs_teacher:
            yield from _teach(setup, root / "teachers", checkpoint)
            setup = with_teacher(setup, checkpoint, root / "teachers", allow_changes=allow_changes)
        yield from _run_method(setup, override, checkpoint)


def _run_method(
    setup: RunSetup, override: LambdaOverride, checkpoint: Checkpoint | None
) -> Iterator[Event]:
    """All that is the method's own, in the time and memory that count as the run's."""
    config, method = setup.config, setup.method
    began = time.perf_counter() - (0.0 if checkpoint is None else checkpoint.seconds)
    yield PhaseStart("start", 0)
    generator = torch.Generator().manual_seed(config.seed)
    student = setup.make_student(generator)
    driver = LambdaDriver(method, student, config.steps, override)
    tracker = MetricTracker(setup, student, driver)
    setup.park_model(student)
    # Measured once for the start, covariances in double precision are no part of the training.
    reset_peak_memory(setup.accelerator.device)
    yield PhaseStart("fade", config.steps if method.trains else 0)
    yield from Fit(setup, student, driver, tracker, generator, checkpoint).events()
    peak_memory_mb = tracker.peak.megabytes
    yield PhaseStart("test", 0)
    result, small = final_result(setup, student)
    seconds = time.perf_counter() - began - tracker.clock.paused
    result |= _facts(setup, student, driver, tracker, seconds)
    result["peak_memory_mb"] = peak_memory_mb
    set_metadata(
        small,
        pclora_method=config.method.to_dict(),
        # Outputs that are no classes may have names all the same.
        pclora_class_names=setup.class_names or getattr(setup.model, "pclora_class_names", None),
    )
    yield RunEnd(result, small.cpu(), setup.model.cpu())


def _checked_method(config: RunConfig) -> Method:
    method = make_method(config.method)
    if config.overrides and not method.fades:
        raise ValueError(f"{method.title} has no λ to move by hand: leave overrides empty")
    return method


def _teach(setup: RunSetup, folder: Path, checkpoint: Checkpoint | None) -> Iterator[Event]:
    """Fine-tune the dense model, in place."""
    config, accelerator = setup.config, setup.accelerator
    start = (setup.model, setup.data, setup.batches, config, accelerator, folder)
    is_older = checkpoint is not None and checkpoint.identity is None
    begun_with = "" if setup.identity is None else setup.identity.teacher_key
    events = train_teacher(
        *start, allow_former=is_older, begun_with=begun_with, ranks=setup.ranks, task=setup.task
    )
    # The rows of a teacher that has to be made again are in the history already.
    yield from (e for e in events if checkpoint is None or not isinstance(e, LogRow))


def _facts(
    setup: RunSetup,
    student: nn.Module,
    driver: LambdaDriver,
    tracker: MetricTracker,
    seconds: float,
) -> dict[str, Any]:
    """What a result holds besides what is read on the finished model."""
    config, data = setup.config, setup.data
    return {
        "seed": config.seed,
        "lr": config.lr,
        "steps": config.steps,
        "seconds": seconds,
        "report_on": config.report_on,
        "input": data.kind,
        "class_names": list(setup.class_names),
        "account": data.account.to_dict() if data.account else None,
        "notes": [*_data_notes(data, setup.batches), *_run_notes(setup, student, driver)],
        "probe_percent": tracker.probe_percent,
        "overrides": [list(override) for override in driver.override.made],
    }


def _data_notes(data: LabeledData, batches: dict[str, Batches]) -> list[str]:
    """What a person should know about the data that were used."""
    return [*data.notes, *(note for name, part in batches.items() for note in part.notes(name))]


def _run_notes(setup: RunSetup, student: nn.Module, driver: LambdaDriver) -> list[str]:
    """What a person should know about how λ moved and what was kept."""
    config = setup.config
    notes: list[str | None] = [*(setup.identity.notes if setup.identity else ())]
    if (saved := getattr(setup.model, "pclora_saved_in", None)) is not None:
        notes.append(
            f"the weights of {config.model!r} were saved in {saved} and trained in float32"
        )
    if hasattr(config.method, "schedule"):
        notes += schedule_notes(config.method.schedule)
    if not driver.in_force:
        notes += setup.method.notes(student)
    else:
        notes.append(
            f"λ was held at {driver.in_force:.2f} until the training ended; the base was "
            "removed all the same, from one step to the next"
        )
    if setup.method.supports_replay and config.snapshots:
        kept, wanted = len(kept_steps(student, config)), min(config.snapshots, config.steps + 1)
        notes.append(snapshot_note(kept, wanted, trained_bytes(student), config.snapshot_mb))
    return [note for note in notes if note]
