"""The method's own training: steps, rows of the history, snapshots and checkpoints as events."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from pclora_lab.nn.forward import Inputs
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import AdapterSnapshot, Event, LogRow, StepEnd
from pclora_lab.training.lambda_override import LambdaDriver
from pclora_lab.training.measuring.metrics import MetricTracker
from pclora_lab.training.measuring_plan import log_every
from pclora_lab.training.optimizer import Meter, make_optimizer, optimization_steps
from pclora_lab.training.precision import LossScaler
from pclora_lab.training.setup import RunSetup
from pclora_lab.training.state import (
    Checkpoint,
    load_training_state,
    snapshot_steps,
    snapshot_tensors,
    trained_bytes,
    training_state,
)

__all__ = ["Fit"]

LossFunction = Callable[[Inputs, Tensor], dict[str, Tensor]]


class Fit:
    """One training of a student.

    Args:
        setup: of the run.
        student: what is trained.
        driver: moves it along.
        tracker: measures it.
        generator: draws the batches.
        checkpoint: go on from there.
    """

    def __init__(
        self,
        setup: RunSetup,
        student: nn.Module,
        driver: LambdaDriver,
        tracker: MetricTracker,
        generator: torch.Generator,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.setup, self.student, self.driver, self.tracker = setup, student, driver, tracker
        self.generator, self.checkpoint = generator, checkpoint
        self.optimizer = make_optimizer(student, setup.config.weight_decay)
        self.meter = Meter(setup.accelerator.device, f"lr={setup.config.peak_lr:g}")
        self.scaler = LossScaler(setup.accelerator)
        is_replayed = setup.method.trains and setup.method.supports_replay
        self.snapshot_steps = kept_steps(student, setup.config) if is_replayed else ()

    def events(self) -> Iterator[Event]:
        """Train; the first row tells where the student starts, unless it is taken up."""
        method, checkpoint = self.setup.method, self.checkpoint
        if not method.trains:
            yield LogRow(self.tracker.row(self.setup.config.steps, {}))
            return
        if checkpoint is None:
            # Before the row, so that whoever reads the row can look back at once.
            if 0 in self.snapshot_steps:
                yield self._snapshot(0)
            yield LogRow(self.tracker.row(0, {}))
        # Before a checkpoint is read: some losses remember where the student began.
        losses = method.loss_terms(self.student, self.setup.model)
        if checkpoint is not None:
            self._restore(checkpoint)

        def loss(inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
            return losses(inputs, labels, self.driver.progress)

        first = 0 if checkpoint is None else checkpoint.step
        try:
            for step, means in enumerate(self._steps(loss, first), start=first + 1):
                yield from self._logged(step, means)
                # Last, so that all there is to tell about a step is told when it is checkpointed.
                with self.tracker.clock.waiting():
                    take = partial(self._checkpoint, step)
                    yield StepEnd("fade", step, self.setup.config.steps, take)
        finally:
            losses.close()

    def _steps(self, loss: LossFunction, first: int) -> Iterator[dict[str, float | None] | None]:
        config, method = self.setup.config, self.setup.method
        return optimization_steps(
            self.student,
            loss,
            self.setup.batches["train"],
            config,
            self.setup.accelerator,
            steps=config.steps,
            peak_lr=config.peak_lr,
            logged=range(0, config.steps, log_every(config.steps)),
            generator=self.generator,
            before_step=self.driver.begin_step,
            after_backward=lambda: method.after_backward(self.student),
            optimizer=self.optimizer,
            meter=self.meter,
            scaler=self.scaler,
            first=first,
            ranks=self.setup.ranks,
            units=self.setup.task.units,
        )

    def _logged(self, step: int, means: dict[str, float | None] | None) -> Iterator[Event]:
        """A row where one is due, and the adapters at the steps that are kept."""
        if means is not None:
            yield LogRow(self.tracker.row(step, means))
        if step in self.snapshot_steps:
            yield self._snapshot(step)

    def _snapshot(self, step: int) -> AdapterSnapshot:
        self.driver.set_step(step)
        lam = self.driver.facts.get("lam", 0.0)
        return AdapterSnapshot(step, lam, snapshot_tensors(self.student))

    def _checkpoint(self, step: int) -> Checkpoint:
        method, tracker = self.setup.method, self.tracker
        return Checkpoint(
            step=step,
            fingerprint="",
            overrides=self.driver.override.made_and_planned(step),
            base_dropped=self.driver.base_dropped,
            evaluated=bisect_right(tracker.plan.steps, step),
            seconds=tracker.clock.seconds,
            probe_seconds=0.0 if tracker.layers is None else tracker.layers.seconds,
            tensors=training_state(
                self.student,
                self.optimizer,
                method.state_dict(self.student),
                self.meter,
                self.scaler,
            ),
            identity=self.setup.identity,
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Student, optimizer and tracker as they were after that step."""
        student, method = self.student, self.setup.method
        if checkpoint.base_dropped and method.without_base(student) is not None:
            method.set_progress(student, 1.0)
        own = load_training_state(
            student, self.optimizer, checkpoint.tensors, self.meter, self.scaler
        )
        method.load_state_dict(student, own)
        self.driver.take_up(checkpoint.step)
        self.tracker.restore(checkpoint)


def kept_steps(student: nn.Module, config: RunConfig) -> tuple[int, ...]:
    """Steps at which the adapters are kept, as many as the config's megabytes allow."""
    most_bytes = 1e6 * config.snapshot_mb
    return snapshot_steps(config.steps, config.snapshots, trained_bytes(student), most_bytes)
