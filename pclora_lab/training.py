"""One run from start to end, as a generator of events: load, teach, fade, compress, measure.

The generator draws nothing, prints nothing and knows no thread. To pause, do not ask for the next
event; to stop, close it.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pclora_lab.accounting import Plan, plan
from pclora_lab.config import RunConfig
from pclora_lab.data import ImageData, Pixels, Preprocessing, load_data
from pclora_lab.devices import make_accelerator, memory_mb, peak_memory_mb, resolve_device
from pclora_lab.evaluate import accuracy
from pclora_lab.events import Event, Finished, Phase, Row, Tick
from pclora_lab.losses import Distiller, total_loss
from pclora_lab.methods.pclora import (
    base_removed,
    base_share,
    compress,
    drop_base,
    get_pclora_model,
    set_progress,
)
from pclora_lab.models import head_is_new, load_model
from pclora_lab.optim import optimise
from pclora_lab.teachers import needs_finetuning, train_teacher

__all__ = ["CALIBRATION_IMAGES", "train"]

CALIBRATION_IMAGES = 512
_PROBE_IMAGES = 32
_ROWS = 120


def train(config: RunConfig, root: Path | str = "runs") -> Iterator[Event]:
    """Run a configuration.

    Args:
        config: what to do.
        root: folder of runs; fine-tuned teachers are kept in ``root/teachers``.

    Yields:
        Phases, a tick per step, history rows, and at the end one :class:`Finished`.

    Raises:
        ValueError: anything in the config that does not fit model, data or machine.
        LossDiverged: the loss is no longer finite.
    """
    began = time.perf_counter()
    resolve_device(config.device)
    yield Phase("data", 0)
    data = load_data(
        config.data, image_column=config.image_column, label_column=config.label_column
    )
    model = _load(config, data)
    sizes = plan(model, config.method.rank, targets=config.method.targets)
    accelerator = make_accelerator(config, model)
    model.to(accelerator.device)
    pixels = _pixels(model, data, config)
    has_teacher = needs_finetuning(model, config) or not head_is_new(model)
    if needs_finetuning(model, config):
        teachers = Path(root) / "teachers"
        yield from train_teacher(model, data, pixels, config, accelerator, teachers)
    yield Phase("start", 0)
    generator = torch.Generator().manual_seed(config.seed)
    student = _make_student(model, pixels["train"], config, generator)
    yield Phase("fade", config.steps)
    watch = _Watch(student, model, pixels, config, accelerator, has_teacher)
    yield from _fade(student, model, pixels["train"], watch, generator)
    yield Phase("test", 0)
    yield _finish(student, model, pixels, accelerator, sizes, config, began, has_teacher)


def _load(config: RunConfig, data: ImageData) -> nn.Module:
    generator = torch.Generator().manual_seed(config.teacher_seed)
    model = load_model(
        config.model, num_classes=data.num_classes, img_size=config.img_size, generator=generator
    )
    if config.teacher == "pretrained" and config.method.logit_weight > 0 and head_is_new(model):
        raise ValueError(
            f"logit_weight is {config.method.logit_weight}, but the pre-trained head of "
            f"{config.model!r} does not fit the {data.num_classes} classes of {config.data!r}: "
            'set logit_weight=0 or teacher="finetune"'
        )
    return model


def _pixels(model: nn.Module, data: ImageData, config: RunConfig) -> dict[str, Pixels]:
    preprocessing = Preprocessing.of(model, config.img_size)
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: Pixels(split, preprocessing) for name, split in splits.items()}


def _make_student(
    teacher: nn.Module, train_pixels: Pixels, config: RunConfig, generator: torch.Generator
) -> nn.Module:
    device = next(teacher.parameters()).device

    def calibration() -> Iterator[Tensor]:
        for rows in train_pixels.in_order(64, CALIBRATION_IMAGES):
            images, _ = train_pixels.batch(rows)
            yield train_pixels.preprocessing.normalise(images.to(device))

    return get_pclora_model(
        teacher, config.method, calibration=calibration(), generator=generator
    ).to(device)


def _fade(
    student: nn.Module,
    teacher: nn.Module,
    train_pixels: Pixels,
    watch: "_Watch",
    generator: torch.Generator,
) -> Iterator[Event]:
    """The fade itself; afterwards λ is 0 and the base is gone."""
    config = watch.config
    distiller = Distiller(student, teacher)

    def loss_terms(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        terms = distiller.terms(images, labels)
        return {"loss": total_loss(terms, config.method), **terms}

    steps = optimise(
        student,
        loss_terms,
        train_pixels,
        config,
        watch.accelerator,
        steps=config.steps,
        peak_lr=config.lr,
        log_every=max(1, config.steps // _ROWS),
        generator=generator,
        before_step=watch.set_step,
    )
    watch.set_step(0)
    yield Row(watch.row(0, {}))
    try:
        for step, means in enumerate(steps, start=1):
            yield Tick("fade", step, config.steps)
            if means is not None:
                yield Row(watch.row(step, means))
    finally:
        distiller.close()


class _Watch:
    """Moves λ with the step number and measures the student for the history."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        pixels: dict[str, Pixels],
        config: RunConfig,
        accelerator: Accelerator,
        has_teacher: bool,
    ) -> None:
        self.student, self.pixels = student, pixels["validation"]
        self.config, self.accelerator = config, accelerator
        self.dense_params = sum(p.numel() for p in teacher.parameters())
        self.began = time.perf_counter()
        self.evaluated = -1
        self.lam = 1.0
        rows = next(pixels["train"].in_order(_PROBE_IMAGES, _PROBE_IMAGES))
        images, _ = pixels["train"].batch(rows)
        self.probe = self.pixels.preprocessing.normalise(images.to(accelerator.device))
        # None where the teacher's head is as new as the student's: it has nothing to say yet.
        self.teacher_accuracy = self._accuracy(teacher) if has_teacher else None

    def _accuracy(self, model: nn.Module) -> float:
        return accuracy(model, self.pixels, self.accelerator, limit=self.config.eval_images)

    def set_step(self, step: int) -> None:
        """Set λ for a step; the base goes the moment λ is 0."""
        self.lam = set_progress(self.student, step / self.config.steps)
        if self.lam == 0:
            drop_base(self.student)

    def row(self, step: int, means: dict[str, float | None]) -> dict[str, Any]:
        """One line of the history; accuracies and the base's share only when they are due."""
        if step == self.config.steps:
            self.set_step(step)
        tensors = _unique([*self.student.parameters(), *self.student.buffers()])
        held = sum(t.numel() for t in tensors)
        return {
            "phase": "fade",
            "step": step,
            "progress": step / self.config.steps,
            "lam": self.lam,
            **means,
            **self._measured(step),
            "teacher_accuracy": self.teacher_accuracy,
            "held_params": held,
            "held_percent": 100 * held / self.dense_params,
            "student_mb": sum(t.numel() * t.element_size() for t in tensors) / 1e6,
            "memory_mb": memory_mb(self.accelerator.device),
            "seconds": time.perf_counter() - self.began,
        }

    def _measured(self, step: int) -> dict[str, float | None]:
        due = step * self.config.evaluations // self.config.steps
        if due == self.evaluated:
            return {"base_share": None, "accuracy": None, "accuracy_if_base_removed": None}
        self.evaluated = due
        with self.accelerator.autocast():
            share = base_share(self.student, self.probe)
        as_it_is = without = self._accuracy(self.student)
        if self.lam > 0:
            with base_removed(self.student):
                without = self._accuracy(self.student)
        return {
            "base_share": share,
            "accuracy": as_it_is,
            "accuracy_if_base_removed": without,
        }


def _unique(tensors: list[Tensor]) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def _finish(
    student: nn.Module,
    teacher: nn.Module,
    pixels: dict[str, Pixels],
    accelerator: Accelerator,
    sizes: Plan,
    config: RunConfig,
    began: float,
    has_teacher: bool,
) -> Finished:
    """Compress, and read the test split; in float32, as the saved model is."""
    small = compress(student)
    test = pixels["test"]
    images, _ = test.batch(next(test.in_order(64)))
    images = test.preprocessing.normalise(images.to(accelerator.device))
    with torch.no_grad():
        gap = (student.eval()(images) - small(images)).abs().max().item()
    result = {
        "accuracy": accuracy(student, test),
        "teacher_accuracy": accuracy(teacher, test) if has_teacher else None,
        "accuracy_if_base_removed": accuracy(small, test),
        "max_logit_difference": gap,
        "params_before": sizes.whole_model.params_before,
        "params_after": sum(p.numel() for p in small.parameters()),
        "params_removed_replaced": sizes.replaced.params_removed,
        "params_removed_whole": sizes.whole_model.params_removed,
        "macs_removed_whole": sizes.whole_model.macs_removed,
        "bytes_before": sizes.whole_model.bytes_before,
        "bytes_after": sizes.whole_model.bytes_after,
        "device": str(accelerator.device),
        "precision": {"no": "float32", "bf16": "bfloat16"}[accelerator.mixed_precision],
        "seed": config.seed,
        "seconds": time.perf_counter() - began,
        "peak_memory_mb": peak_memory_mb(accelerator.device),
    }
    return Finished(result, small.cpu(), teacher.cpu())
