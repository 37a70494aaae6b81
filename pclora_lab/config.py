"""What a run is made of: frozen, validated, to and from JSON. No logic lives here."""

import dataclasses
import math
import re
from dataclasses import dataclass, field
from typing import Any

from pclora_lab.schedules import check_schedule

__all__ = ["INITS", "TAPS", "TEACHERS", "PCLoRAConfig", "RunConfig"]

INITS = ("zeros", "svd", "activation_svd")
TAPS = ("linears", "blocks")
TEACHERS = ("auto", "finetune", "pretrained")
PRECISIONS = ("auto", "float32", "bfloat16")


def _one_of(what: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}: use one of {', '.join(allowed)}")


def _number(what: str, value: object, low: float, high: float = math.inf, why: str = "") -> None:
    """Refuse what is not a finite number in [low, high]."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or not low <= value <= high:
        bounds = f"in [{low}, {high}]" if high < math.inf else f"of at least {low}"
        raise ValueError(f"{what} is {value!r}: it must be a number {bounds}{why}")


def check_rank(rank: object) -> int | str:
    """A positive whole number, or a percentage of each layer's break-even rank.

    Raises:
        ValueError: 0, negative, 7.5, "abc", "0%", "120%".

    Example:
        >>> check_rank("25%"), check_rank(8)
        ('25%', 8)
    """
    cure = 'use a whole number such as 16, or a share of the break-even rank such as "25%"'
    if isinstance(rank, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", rank)
        if match and 0 < float(match[1]) <= 100:
            return f"{match[1]}%"
        if re.fullmatch(r"\s*-?[0-9]+\s*", rank):
            return check_rank(int(rank))
        raise ValueError(f"rank {rank!r} is not a rank: {cure}")
    if isinstance(rank, bool) or not isinstance(rank, int):
        raise ValueError(f"rank {rank!r} is not a whole number: {cure}")
    if rank < 1:
        raise ValueError(f"rank {rank} leaves nothing of the layer: {cure}")
    return rank


@dataclass(frozen=True, kw_only=True)
class PCLoRAConfig:
    """How PC-LoRA (arXiv:2406.09117) compresses a model.

    Attributes:
        rank: r of every adapter; a whole number, or ``"25%"`` of each layer's break-even rank.
        schedule: name of a decay schedule, or ``(progress, λ)`` points.
        fade_end: q in (0, 1]; from this share of the steps on, λ is 0. The paper's 0.6 is known
            at second hand only.
        alpha: α in [0, 1]; loss = α·task + (1 − α)·(feature + logit_weight·logit).
        init: ``zeros`` (the paper's), ``svd`` or ``activation_svd`` (residual starts).
        taps: which outputs the student imitates: every replaced layer (``linears``) or every
            transformer block (``blocks``). The paper leaves it open.
        logit_weight: weight of the logit distillation term; 0 leaves it out.
        temperature: T of that term.
        scale: s on the adapter, LoRA's alpha/r.
        train_norms: train the LayerNorms as well.
        targets: ``blocks`` for every linear layer inside the transformer blocks, or a regular
            expression that full layer names are searched with.

    Raises:
        ValueError: a value out of its range, with the range and a cure.

    Example:
        >>> PCLoRAConfig(rank=8).schedule
        'sine'
    """

    rank: int | str = 16
    schedule: str | tuple[tuple[float, float], ...] = "sine"
    fade_end: float = 0.6
    alpha: float = 0.2
    init: str = "zeros"
    taps: str = "linears"
    logit_weight: float = 0.0
    temperature: float = 2.0
    scale: float = 1.0
    train_norms: bool = False
    targets: str = "blocks"

    def __post_init__(self) -> None:
        """Validate; points become a tuple of pairs."""
        object.__setattr__(self, "rank", check_rank(self.rank))
        object.__setattr__(self, "schedule", check_schedule(self.schedule))
        if not (isinstance(self.fade_end, (int, float)) and 0 < self.fade_end <= 1):
            raise ValueError(
                f"fade end q is {self.fade_end!r}: it must be in (0, 1], a share of all steps; "
                "0.6 is the usual value"
            )
        _number("alpha", self.alpha, 0, 1, ", the share of the task loss")
        _one_of("start", self.init, INITS)
        _one_of("taps", self.taps, TAPS)
        _number("logit_weight", self.logit_weight, 0)
        _number("temperature", self.temperature, 1e-3)
        _number("scale", self.scale, 1e-6)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that determines one run.

    Attributes:
        model: ``vit_digits``, a timm name, ``local-dir:PATH`` or a folder.
        data: ``digits``, a hub data set's name, or a folder of parquet files or images.
        img_size: side of the square input in pixels; None takes the model's own.
        image_column: name of the image column; None guesses.
        label_column: name of the label column; None guesses.
        method: how the model is compressed.
        steps: optimiser steps of the fade.
        batch_size: images per step.
        lr: peak learning rate (warm-up, then cosine to zero).
        weight_decay: AdamW's.
        warmup: share of the steps in which the learning rate rises.
        grad_clip: largest gradient norm.
        seed: draws A, a new head and the batches.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``auto`` (bfloat16 where the device computes it and the model is large enough
            to gain), ``float32`` or ``bfloat16``.
        teacher: ``auto`` fine-tunes one only where the model's head does not fit the data;
            ``finetune`` always; ``pretrained`` takes the model as given and distils features only.
        teacher_steps: optimiser steps of the teacher's fine-tuning.
        teacher_lr: its peak learning rate.
        teacher_seed: its seed; apart from ``seed`` so that runs share a teacher.
        evaluations: how often both accuracies are measured while training (at most once per
            logged row, of which there are about 120).
        eval_images: validation images for each of these measurements.

    Raises:
        ValueError: a value out of its range, with the range and a cure.

    Example:
        >>> RunConfig.from_dict(RunConfig(steps=10).to_dict()).steps
        10
    """

    model: str = "vit_digits"
    data: str = "digits"
    img_size: int | None = None
    image_column: str | None = None
    label_column: str | None = None
    method: PCLoRAConfig = field(
        default_factory=lambda: PCLoRAConfig(rank=8, init="activation_svd")
    )
    steps: int = 300
    batch_size: int = 64
    lr: float = 5e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    grad_clip: float = 1.0
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    teacher: str = "auto"
    teacher_steps: int = 600
    teacher_lr: float = 2e-4
    teacher_seed: int = 0
    evaluations: int = 30
    eval_images: int = 512

    def __post_init__(self) -> None:
        """Validate every number and name."""
        for name in ("steps", "batch_size", "teacher_steps", "evaluations", "eval_images"):
            self._whole(name, 1)
        for name in ("seed", "teacher_seed"):
            self._whole(name, 0)
        if self.img_size is not None:
            self._whole("img_size", 1)
        for name in ("lr", "teacher_lr", "grad_clip"):
            _number(name, getattr(self, name), 1e-9)
        _number("weight_decay", self.weight_decay, 0)
        _number("warmup", self.warmup, 0, 1)
        _one_of("teacher", self.teacher, TEACHERS)
        _one_of("precision", self.precision, PRECISIONS)

    def _whole(self, name: str, low: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"{name} is {value!r}: it must be a whole number of at least {low}")

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: a key that no field has.
        """
        values = dict(values)
        method = _known(PCLoRAConfig, values.pop("method", {}))
        return cls(method=PCLoRAConfig(**method), **_known(cls, values))


def _known(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}: it has {sorted(names)}")
    return values
