"""What a run measures while it trains: its time, and a row of its history per logged step."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pclora_lab.methods.metrics import LR_SHARE
from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.remarks import remark
from pclora_lab.training.device import memory_mb
from pclora_lab.training.evaluation import evaluate
from pclora_lab.training.lambda_override import LambdaDriver
from pclora_lab.training.measuring.layer_probe import LayerProbe
from pclora_lab.training.measuring.peak_memory import PeakMemory
from pclora_lab.training.measuring_plan import MeasuringPlan, plan_measuring
from pclora_lab.training.optimizer import LossDiverged
from pclora_lab.training.setup import RunSetup
from pclora_lab.training.state import Checkpoint

__all__ = ["MetricTracker", "RunClock"]

PROBE_EXAMPLES = 32

Looked = TypeVar("Looked")


class RunClock:
    """Counts seconds from when it is made.

    Attributes:
        paused: seconds that were not the run's.

    Example:
        >>> clock = RunClock()
        >>> with clock.waiting():
        ...     before = clock.seconds
        ...     _ = sum(range(10**5))
        ...     clock.seconds == before
        True
    """

    def __init__(self) -> None:
        self._began, self.paused = time.perf_counter(), 0.0
        self._waits_since: float | None = None

    @property
    def seconds(self) -> float:
        """That the run has taken so far, without pauses."""
        now = time.perf_counter() if self._waits_since is None else self._waits_since
        return now - self._began - self.paused

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time in here is not the run's: somebody else has the thread, or pauses it."""
        began = self._waits_since = time.perf_counter()
        try:
            yield
        finally:
            self.paused += time.perf_counter() - began
            self._waits_since = None

    def add(self, seconds: float) -> None:
        """Count what a run that is taken up had taken before."""
        self._began -= seconds


class MetricTracker:
    """Measures a student for the history; what moves it is :class:`LambdaDriver`.

    Args:
        setup: of the run.
        student: what is trained.
        driver: where the student is.

    Attributes:
        clock: of the run.
        peak: of the memory that the training takes.
        plan: when it measures what.
        layers: looks at the layers one by one; None where nobody asked for it.
    """

    def __init__(self, setup: RunSetup, student: nn.Module, driver: LambdaDriver) -> None:
        self.config, self.method, self.accelerator = setup.config, setup.method, setup.accelerator
        self.task = setup.task
        self.student, self.driver, self.clock = student, driver, RunClock()
        self.peak = PeakMemory(self.accelerator.device)
        self.batches, train = setup.batches["validation"], setup.batches["train"]
        self.dense_params = sum(p.numel() for p in setup.model.parameters())
        self.plan = _plan(setup)
        self.teacher_scores = setup.teacher_scores(self.plan.examples)
        indices = next(train.in_order(PROBE_EXAMPLES, PROBE_EXAMPLES))
        self.probe = train.inputs(indices, self.accelerator.device)
        self.layers: LayerProbe | None = None
        if self.config.layer_metrics:
            names = [layer.name for layer in setup.counts.layers]
            # As the student is measured, or its precision would count as a distance.
            with self.accelerator.autocast():
                self.layers = self._if_there_is_room(
                    lambda: LayerProbe(self.method, student, setup.model, names, self.probe)
                )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Count the time of a run that is taken up on."""
        self.clock.add(checkpoint.seconds)
        if self.layers is not None:
            self.layers.seconds += checkpoint.probe_seconds

    def row(self, step: int, means: dict[str, float | None]) -> dict[str, Any]:
        """One line of the history; what takes a forward pass only when it is due.

        The student is measured at the λ of this step, which the next training step has too.
        """
        self.driver.set_step(step)
        tensors = held_tensors(self.student)
        held = sum(t.numel() for t in tensors)
        return {
            "phase": "fade",
            "step": step,
            "progress": step / self.config.steps,
            **self.driver.take_facts(),
            **means,
            **self._lr_share(means),
            **self._measured(step),
            **self.task.of_teacher(self.teacher_scores),
            "examples": self.plan.examples,
            "held_params": held,
            "held_percent": 100 * held / self.dense_params,
            "student_mb": sum(t.numel() * t.element_size() for t in tensors) / 1e6,
            "memory_mb": memory_mb(self.accelerator.device),
            "seconds": self.clock.seconds,
        }

    def _lr_share(self, means: dict[str, float | None]) -> dict[str, float]:
        lr = means.get("lr")
        if LR_SHARE not in self.method.metrics or lr is None:
            return {}
        return {"lr_share": lr / self.config.peak_lr}

    def _scores(self) -> dict[str, float]:
        config = self.config
        return evaluate(
            self.task,
            self.student,
            self.batches,
            self.accelerator,
            limit=self.plan.examples,
            batch_size=config.eval_batch_size,
        )

    def _scores_at(self, step: int) -> dict[str, float]:
        try:
            return self._scores()
        except NotFinite as error:
            if not self.method.trains or step == 0:
                raise
            raise LossDiverged(
                f"after step {step} {error}. Try a smaller learning rate than "
                f"lr={self.config.peak_lr:g} (a third of it), a longer warm-up, or "
                'precision="float32"'
            ) from error

    def _measured(self, step: int) -> dict[str, Any]:
        if step not in self.plan.steps:
            return self._columns({}, {})
        with self.peak.left_out():
            return self._read(step)

    def _read(self, step: int) -> dict[str, Any]:
        """The metrics, also without the base, after what the probe batch tells."""
        facts = self._probed(step)
        as_it_is = self._scores_at(step)
        if not self.method.fades:
            return {**facts, **self._columns(as_it_is, {})}
        without_base = self.method.without_base(self.student)
        removed = as_it_is
        if without_base is not None:
            removed = {}
            # What a student can't do yet is no reason to end its training.
            with without_base, contextlib.suppress(NotFinite):
                removed = self._scores()
        return {**facts, **self._columns(as_it_is, removed)}

    def _columns(
        self, as_it_is: Mapping[str, float], removed: Mapping[str, float]
    ) -> dict[str, float | None]:
        """Both readings of every metric; None where it was not measured."""
        metrics = self.task.metrics
        values = {metric.key: as_it_is.get(metric.key) for metric in metrics}
        return values | {m.if_base_removed: removed.get(m.key) for m in metrics}

    def _probed(self, step: int) -> dict[str, Any]:
        """What the probe batch tells, with the layers' distances where they are planned."""
        with self.accelerator.autocast():
            if self.layers is None:
                return self._of_whole_student()
            measure, distances = self.layers.measure, step in self.plan.distances
            facts = self._if_there_is_room(lambda: measure(distances=distances))
            if facts is None:
                self.layers = None
                return self._of_whole_student()
        return {**facts, "probe_percent": self.probe_percent}

    def _if_there_is_room(self, look: Callable[[], Looked]) -> Looked | None:
        """What looking at the layers tells; a device too small for that ends no training."""
        try:
            return look()
        except torch.OutOfMemoryError as error:
            remark(f"the layers are not looked at any more, for want of memory: {error}")
            return None

    def _of_whole_student(self) -> dict[str, Any]:
        facts = self.method.measure(self.student, self.probe)
        return {name: v for name, v in facts.items() if not name.startswith("layer_")}

    @property
    def probe_percent(self) -> float:
        """What looking at the layers has cost, in percent of the time so far."""
        if self.layers is None:
            return 0.0
        elapsed = max(self.clock.seconds, 1e-9)
        return round(100 * self.layers.seconds / elapsed, 2)


def _plan(setup: RunSetup) -> MeasuringPlan:
    sizes = setup.planned.whole_model
    small_share = sizes.macs_after / sizes.macs_before if setup.method.fades else 0.0
    plan = plan_measuring(setup.config, small_share=small_share, probe_examples=PROBE_EXAMPLES)
    return replace(plan, examples=min(plan.examples, len(setup.batches["validation"])))


def held_tensors(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers, each once, without what a layer notes about itself only."""
    noted = {
        id(getattr(module, name))
        for module in model.modules()
        for name in getattr(module, "bookkeeping", ())
    }
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return [tensor for key, tensor in tensors.items() if key not in noted]
