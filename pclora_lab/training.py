"""One run from start to end, as a generator of events: load, teach, train, finish, measure.

The generator draws nothing, prints nothing and knows no thread. To pause, do not ask for the next
event; to stop, close it. What the method does between its four verbs is not known here.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab.config import RunConfig
from pclora_lab.data import ImageData, Pixels, Preprocessing, load_data
from pclora_lab.devices import make_accelerator, reset_peak_memory, resolve_device
from pclora_lab.evaluate import accuracy
from pclora_lab.events import Event, Finished, Phase, Row, Tick
from pclora_lab.measuring import Watch, final_result
from pclora_lab.methods import Method, make_method
from pclora_lab.models import head_is_new, load_model
from pclora_lab.optim import optimise
from pclora_lab.teachers import needs_finetuning, train_teacher

__all__ = ["CALIBRATION_IMAGES", "DataCache", "train"]

CALIBRATION_IMAGES = 512
_ROWS = 120


class DataCache:
    """Data sets and their decoded images, shared by runs that follow each other."""

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def data(self, config: RunConfig) -> ImageData:
        """The config's data set."""
        key = (config.data, config.image_column, config.label_column)
        if key not in self._kept:
            columns = {"image_column": key[1], "label_column": key[2]}
            self._kept[key] = load_data(config.data, **columns)
        return self._kept[key]

    def pixels(self, data: ImageData, preprocessing: Preprocessing) -> dict[str, Pixels]:
        """The three splits as a model wants them."""
        key = (data.name, preprocessing)
        if key not in self._kept:
            splits = {"train": data.train, "validation": data.validation, "test": data.test}
            self._kept[key] = {n: Pixels(split, preprocessing) for n, split in splits.items()}
        return self._kept[key]

    def teacher_accuracy(self, teacher: nn.Module, pixels: Pixels, config: RunConfig) -> float:
        """Of the dense model on the final split; read once for all runs that share it."""
        names = ("model", "data", "img_size", "teacher", "teacher_steps", "teacher_lr", "report_on")
        facts = tuple(getattr(config, name) for name in (*names, "teacher_seed", "batch_size"))
        # Methods that start from the pre-trained model see it before any fine-tuning.
        key = (*facts, make_method(config.method).starts_from)
        if key not in self._kept:
            self._kept[key] = accuracy(teacher, pixels)
        return self._kept[key]


def train(
    config: RunConfig, root: Path | str = "runs", *, cache: DataCache | None = None
) -> Iterator[Event]:
    """Run a configuration.

    Args:
        config: what to do.
        root: folder of runs; fine-tuned teachers are kept in ``root/teachers``.
        cache: data of earlier runs in this process.

    Yields:
        Phases, a tick per step, history rows, and at the end one :class:`Finished`.

    Raises:
        ValueError: anything in the config that does not fit model, data or machine.
        LossDiverged: the loss is no longer finite.
    """
    cache = cache if cache is not None else DataCache()
    method = make_method(config.method)
    resolve_device(config.device)
    yield Phase("data", 0)
    data = cache.data(config)
    model = _load(config, data)
    counts = method.count(model)
    planned = method.plan(counts, model)
    accelerator = make_accelerator(config, model)
    model.to(accelerator.device)
    pixels = cache.pixels(data, Preprocessing.of(model, config.img_size))
    is_taught = method.starts_from == "teacher" and needs_finetuning(model, config)
    has_teacher = is_taught or not head_is_new(model)
    if is_taught:
        teachers = Path(root) / "teachers"
        yield from train_teacher(model, data, pixels, config, accelerator, teachers)
    # Time and memory are the method's own: data and teacher are shared by many runs.
    began = time.perf_counter()
    reset_peak_memory(accelerator.device)
    yield Phase("start", 0)
    generator = torch.Generator().manual_seed(config.seed)
    calibration = _calibration(pixels["train"], accelerator.device)
    student = method.apply(model, calibration=calibration, generator=generator)
    student.to(accelerator.device)
    watch = Watch(method, student, model, pixels, config, accelerator, has_teacher)
    yield Phase("fade", config.steps if method.trains else 0)
    yield from _fit(method, student, model, pixels["train"], watch, generator)
    yield Phase("test", 0)
    last = pixels[config.report_on]
    right = cache.teacher_accuracy(model, last, config) if has_teacher else None
    result, small = final_result(method, student, model, last, counts, planned, accelerator, right)
    small.pclora_method = config.method.to_dict()
    facts = {"seed": config.seed, "lr": config.lr, "steps": config.steps}
    result |= {**facts, "report_on": config.report_on, "seconds": time.perf_counter() - began}
    yield Finished(result, small.cpu(), model.cpu())


def _load(config: RunConfig, data: ImageData) -> nn.Module:
    generator = torch.Generator().manual_seed(config.teacher_seed)
    model = load_model(
        config.model, num_classes=data.num_classes, img_size=config.img_size, generator=generator
    )
    logit_weight = getattr(config.method, "logit_weight", 0)
    if config.teacher == "pretrained" and logit_weight > 0 and head_is_new(model):
        raise ValueError(
            f"logit_weight is {logit_weight}, but the pre-trained head of "
            f"{config.model!r} does not fit the {data.num_classes} classes of {config.data!r}: "
            'set logit_weight=0 or teacher="finetune"'
        )
    return model


def _calibration(pixels: Pixels, device: torch.device) -> Iterator[Tensor]:
    """Some training images as the model takes them; nothing is read until a method asks."""
    for rows in pixels.in_order(64, CALIBRATION_IMAGES):
        images, _ = pixels.batch(rows)
        yield pixels.preprocessing.normalise(images.to(device))


def _draws(student: nn.Module) -> bool:
    """Whether a forward pass in training draws random numbers."""
    dropouts = (getattr(m, "p", None) or getattr(m, "drop_prob", None) for m in student.modules())
    return any(isinstance(p, float) and p > 0 for p in dropouts)


@contextmanager
def _own_randomness(
    draws: bool, seed: int, progress: float, device: torch.device
) -> Iterator[None]:
    """torch's global generator as seed and step ask, then the caller's again; only if it draws."""
    if not draws:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(hash((seed, progress)) % 2**63)
        yield


def _fit(
    method: Method,
    student: nn.Module,
    teacher: nn.Module,
    train_pixels: Pixels,
    watch: Watch,
    generator: torch.Generator,
) -> Iterator[Event]:
    """The method's own training, with a history row now and then."""
    config = watch.config
    if not method.trains:
        yield Row(watch.row(config.steps, {}))
        return
    watch.set_step(0)
    yield Row(watch.row(0, {}))
    losses = method.loss_terms(student, teacher)
    draws = _draws(student)

    def loss(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with _own_randomness(draws, config.seed, watch.progress, images.device):
            return losses(images, labels, watch.progress)

    steps = optimise(
        student,
        loss,
        train_pixels,
        config,
        watch.accelerator,
        steps=config.steps,
        peak_lr=config.lr,
        log_every=max(1, config.steps // _ROWS),
        generator=generator,
        before_step=watch.set_step,
        after_backward=lambda: method.after_backward(student),
    )
    try:
        for step, means in enumerate(steps, start=1):
            yield Tick("fade", step, config.steps)
            if means is not None:
                yield Row(watch.row(step, means))
    finally:
        losses.close()
