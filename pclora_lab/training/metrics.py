"""What a run measures: a history row per logged step, and the final numbers."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pclora_lab.data.batches import Batches
from pclora_lab.methods.base import Method
from pclora_lab.methods.metrics import LR_SHARE
from pclora_lab.nn.counting import ModelCounts, count_macs
from pclora_lab.nn.forward import call_model
from pclora_lab.nn.latency import latency_ms
from pclora_lab.nn.sizes import Plan
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import memory_mb, peak_memory_mb
from pclora_lab.training.evaluation import accuracy
from pclora_lab.training.lambda_override import LambdaOverride
from pclora_lab.training.layer_probe import LayerProbe
from pclora_lab.training.state import Checkpoint

__all__ = ["MetricTracker", "final_result"]

_PROBE_EXAMPLES = 32


_LATENCY_EXAMPLES = 64


class MetricTracker:
    """Moves the method along with the step number and measures the student for the history.

    Args:
        method: bound to its options.
        student: what it trains.
        teacher: the dense model.
        batches: the three splits.
        config: of the run.
        accelerator: device and precision.
        teacher_accuracy: on validation examples; None where the dense model's head is new.
        layers: names of the layers to look at one by one.
        lambda_override: λ in a person's hand.
    """

    def __init__(
        self,
        method: Method,
        student: nn.Module,
        teacher: nn.Module,
        batches: dict[str, Batches],
        config: RunConfig,
        accelerator: Accelerator,
        teacher_accuracy: float | None,
        layers: Iterable[str] = (),
        lambda_override: LambdaOverride | None = None,
    ) -> None:
        self.method, self.student, self.batches = method, student, batches["validation"]
        self.lambda_override = (
            lambda_override if lambda_override is not None else LambdaOverride(config.overrides)
        )
        self.override_in_force: float | None = None
        self.fingerprint = ""
        self.config, self.accelerator = config, accelerator
        self.dense_params = sum(p.numel() for p in teacher.parameters())
        self.began, self.paused = time.perf_counter(), 0.0
        self._waits_since: float | None = None
        self.evaluated = -1
        self.progress = 0.0
        self.facts: dict[str, float] = {}
        rows = next(batches["train"].in_order(_PROBE_EXAMPLES, _PROBE_EXAMPLES))
        self.probe = batches["train"].inputs(rows, accelerator.device)
        self.teacher_accuracy = teacher_accuracy
        self.layers: LayerProbe | None = None
        if config.layer_metrics:
            # As the student is measured, or its precision would count as a distance.
            with accelerator.autocast():
                self.layers = LayerProbe(method, student, teacher, layers, self.probe)

    @property
    def base_dropped(self) -> bool:
        """Whether there was a base to fade, and it is gone."""
        return self.method.fades and self.method.without_base(self.student) is None

    @property
    def seconds(self) -> float:
        """That the run has taken so far, without pauses."""
        now = time.perf_counter() if self._waits_since is None else self._waits_since
        return now - self.began - self.paused

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time in here is not the run's: somebody else has the thread, or pauses it."""
        self._waits_since = time.perf_counter()
        try:
            yield
        finally:
            self.paused += time.perf_counter() - self._waits_since
            self._waits_since = None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Measure next when a run that had never stopped would, and count its time on."""
        self.evaluated = checkpoint.evaluated
        self.began -= checkpoint.seconds
        if self.layers is not None:
            self.layers.seconds += checkpoint.probe_seconds

    def _eval_index(self, step: int) -> int:
        return step * self.config.evaluations // self.config.steps

    def _accuracy(self, model: nn.Module) -> float:
        return accuracy(model, self.batches, self.accelerator, limit=self.config.eval_images)

    def set_step(self, step: int) -> None:
        """Tell the method how far the training is; a hand on λ has the last word until the end."""
        self.progress = step / self.config.steps
        lam = (
            self.lambda_override.at(step)
            if self.method.fades and step < self.config.steps
            else None
        )
        if lam is None:
            self.facts = self.method.set_progress(self.student, self.progress)
        else:
            self.facts = self.method.override_lambda(self.student, lam)
        if step < self.config.steps:
            in_force = lam is not None and self.facts.get("lam") == lam
            self.override_in_force = lam if in_force else None

    def row(self, step: int, means: dict[str, float | None]) -> dict[str, Any]:
        """One line of the history; what takes a forward pass only when it is due."""
        if step == self.config.steps:
            self.set_step(step)
        tensors = _unique([*self.student.parameters(), *self.student.buffers()])
        held = sum(t.numel() for t in tensors)
        return {
            "phase": "fade",
            "step": step,
            "progress": step / self.config.steps,
            **self.facts,
            **self._held(),
            **means,
            **self._lr_share(means),
            **self._measured(step),
            "teacher_accuracy": self.teacher_accuracy,
            "held_params": held,
            "held_percent": 100 * held / self.dense_params,
            "student_mb": sum(t.numel() * t.element_size() for t in tensors) / 1e6,
            "memory_mb": memory_mb(self.accelerator.device),
            "seconds": self.seconds,
        }

    def _held(self) -> dict[str, Any]:
        """What a hand did since the last row, and whether there is still a base to hold."""
        if not self.method.fades:
            return {}
        overrides = self.lambda_override.take()
        return {
            "base_held": not self.base_dropped,
            **({"overrides": overrides} if overrides else {}),
        }

    def _lr_share(self, means: dict[str, float | None]) -> dict[str, float]:
        if LR_SHARE not in self.method.metrics or means.get("lr") is None:
            return {}
        return {"lr_share": means["lr"] / self.config.lr}

    def _measured(self, step: int) -> dict[str, float | None]:
        due = self._eval_index(step)
        if due == self.evaluated:
            return {"accuracy": None, "accuracy_if_base_removed": None}
        self.evaluated = due
        facts = self._probed(step)
        as_it_is = self._accuracy(self.student)
        if not self.method.fades:
            return {**facts, "accuracy": as_it_is, "accuracy_if_base_removed": None}
        finishing = self.method.without_base(self.student)
        finished = as_it_is
        if finishing is not None:
            with finishing:
                finished = self._accuracy(self.student)
        return {**facts, "accuracy": as_it_is, "accuracy_if_base_removed": finished}

    def _probed(self, step: int) -> dict[str, Any]:
        """What the probe batch tells, while that is cheap; at the first and last step always."""
        seconds, at_an_end = self.seconds, step in (0, self.config.steps)
        with self.accelerator.autocast():
            if self.layers is None:
                facts = self.method.measure(self.student, self.probe)
                return {name: v for name, v in facts.items() if not name.startswith("layer_")}
            if not at_an_end and not self.layers.within_budget(seconds, step / self.config.steps):
                return {}
            distances = at_an_end or self.layers.within_budget_with_distances(seconds)
            facts = self.layers.measure(distances=distances)
        return {**facts, "probe_percent": self.probe_percent}

    @property
    def probe_percent(self) -> float:
        """What looking at the layers has cost, in percent of the time so far."""
        if self.layers is None:
            return 0.0
        elapsed = max(self.seconds, 1e-9)
        return round(100 * self.layers.seconds / elapsed, 2)


def _unique(tensors: list[Tensor]) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def final_result(
    method: Method,
    student: nn.Module,
    teacher: nn.Module,
    batches: Batches,
    counts: ModelCounts,
    planned: Plan,
    accelerator: Accelerator,
    teacher_accuracy: float | None,
) -> tuple[dict[str, Any], nn.Module]:
    """Finish the student and read the final split; in float32, as the saved model is.

    Args:
        method: bound to its options.
        student: after its last step.
        teacher: the dense model.
        batches: the split to report on.
        counts: trace of the dense model.
        planned: the sizes that the method promised.
        accelerator: device and precision.
        teacher_accuracy: of the dense model on the same split; None if its head is new.

    Returns:
        The numbers, and the deployable model.
    """
    small = method.finalize(student)
    inputs = batches.inputs(next(batches.in_order(_LATENCY_EXAMPLES)), accelerator.device)
    with torch.no_grad():
        gap = call_model(student.eval(), inputs) - call_model(small, inputs)
    macs = count_macs(small)
    tensors = [*small.parameters(), *small.buffers()]
    right = accuracy(small, batches)
    after = sum(p.numel() for p in small.parameters())
    result = {
        "method": method.name,
        "accuracy": right,
        # The name that readers of earlier records know: the base is removed by now.
        "accuracy_if_base_removed": right,
        "teacher_accuracy": teacher_accuracy,
        "max_logit_difference": gap.abs().max().item(),
        "params_before": counts.params,
        "params_after": after,
        "params_trained": _trained(student) if method.trains else 0,
        "params_removed_replaced": _removed(planned, after),
        "params_removed_whole": 1 - after / counts.params,
        "macs_before": counts.macs,
        "macs_after": macs,
        "macs_removed_whole": 1 - macs / counts.macs,
        "bytes_before": counts.bytes,
        "bytes_after": sum(t.numel() * t.element_size() for t in tensors),
        "latency_ms_before": latency_ms(teacher.eval(), inputs),
        "latency_ms_after": latency_ms(small, inputs),
        "device": str(accelerator.device),
        "precision": {"no": "float32", "bf16": "bfloat16"}[accelerator.mixed_precision],
        "peak_memory_mb": peak_memory_mb(accelerator.device),
    }
    return result, small


def _removed(planned: Plan, after: int) -> float:
    """Share of the replaced layers' parameters that is gone, counted on the finished model."""
    return 1 - (after - planned.dense.params_after) / planned.replaced.params_before


def _trained(student: nn.Module) -> int:
    return sum(p.numel() for p in student.parameters() if p.requires_grad)
