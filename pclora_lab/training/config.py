"""What a run is made of: frozen, validated, to and from JSON."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pclora_lab.fields import check_number, known_fields, present_names
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS, config_from_dict
from pclora_lab.training.lambda_override import check_overrides

__all__ = ["COMPARED", "RunConfig", "TEACHERS"]

TEACHERS = ("auto", "finetune", "pretrained")


PRECISIONS = ("auto", "float32", "bfloat16")


SPLITS = ("test", "validation")


COMPARED = ("pclora", "pela", "snella", "lora", "svd", "full")


def _one_of(what: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}: use one of {', '.join(allowed)}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that determines one run.

    Attributes:
        model: ``vit_digits``, ``bert_glosses``, a timm or transformers name, or a folder.
        data: ``digits``, ``glosses``, a hub data set's name, a CSV, JSON lines or parquet file, or
            a folder of such files or of images.
        img_size: side of the square input in pixels; None takes the model's own.
        max_tokens: longest text in tokens, longer ones are cut; None takes 128, or what the model
            has room for.
        split_qkv: fade fused query-key-value layers as three layers.
        image_column: name of the image column; None guesses.
        text_column: name of the text column; None guesses.
        label_column: name of the label column; None guesses.
        method: how the model is compressed or tuned.
        steps: optimizer steps of the method.
        batch_size: examples per step.
        lr: peak learning rate (warm-up, then cosine to zero); None takes the method's usual one.
        weight_decay: AdamW's.
        warmup: share of the steps in which the learning rate rises.
        grad_clip: largest gradient norm.
        seed: draws A, a new head and the batches.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``auto`` (bfloat16 where the device computes it and the model is large enough
            to gain), ``float32`` or ``bfloat16``.
        teacher: ``auto`` fine-tunes one only where the model's head does not fit the data;
            ``finetune`` always; ``pretrained`` takes the model as given and distills features only.
        teacher_steps: optimizer steps of the teacher's fine-tuning.
        teacher_lr: its peak learning rate.
        teacher_seed: its seed; apart from ``seed`` so that runs share a teacher.
        evaluations: how often both accuracies are measured while training (at most once per
            logged row, of which there are about 120).
        eval_images: validation examples for each of these measurements.
        layer_metrics: measure every layer on a probe batch; at most 5 % of the training time, but
            for the first step and the last, which are always measured.
        snapshots: how many times the adapters are kept on the way, to look at later; 0 for never.
        snapshot_mb: most megabytes that all of them may take; fewer are kept if need be.
        overrides: λ set by hand, ``(step, λ)`` or ``(step, None)`` to let go; a run's history has
            them, so that it can be run again.
        report_on: the split that the final accuracy is read on; ``validation`` while choosing
            hyper-parameters, so that the test split is read once.

    Raises:
        ValueError: a value out of its range, with the range and a cure.

    Example:
        >>> RunConfig.from_dict(RunConfig(steps=10).to_dict()).steps
        10
    """

    FORMER_NAMES: ClassVar[dict[str, str]] = {
        "moves": "overrides",
        "layer_facts": "layer_metrics",
    }

    model: str = "vit_digits"
    data: str = "digits"
    img_size: int | None = None
    max_tokens: int | None = None
    split_qkv: bool = False
    image_column: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    method: MethodConfig = field(
        default_factory=lambda: PCLoRAConfig(rank=8, init="activation_svd")
    )
    steps: int = 300
    batch_size: int = 64
    lr: float | None = None
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
    report_on: str = "test"
    layer_metrics: bool = True
    snapshots: int = 24
    snapshot_mb: float = 64.0
    overrides: tuple[tuple[int, float | None], ...] = ()

    def __post_init__(self) -> None:
        """Validate every number and name; paths become text."""
        for name in ("model", "data"):
            object.__setattr__(self, name, str(getattr(self, name)))
        if self.lr is None:
            object.__setattr__(self, "lr", self.method.default_lr)
        for name in ("steps", "batch_size", "teacher_steps", "evaluations", "eval_images"):
            self._whole(name, 1)
        for name in ("seed", "teacher_seed", "snapshots"):
            self._whole(name, 0)
        for name in ("img_size", "max_tokens"):
            if getattr(self, name) is not None:
                self._whole(name, 1)
        for name in ("lr", "teacher_lr", "grad_clip"):
            check_number(name, getattr(self, name), 1e-9)
        check_number("snapshot_mb", self.snapshot_mb, 0)
        object.__setattr__(self, "overrides", check_overrides(self.overrides))
        check_number("weight_decay", self.weight_decay, 0)
        check_number("warmup", self.warmup, 0, 1)
        _one_of("teacher", self.teacher, TEACHERS)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("report_on", self.report_on, SPLITS)

    def _whole(self, name: str, low: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"{name} is {value!r}: it must be a whole number of at least {low}")

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON."""
        return {**dataclasses.asdict(self), "method": self.method.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """The inverse of :meth:`to_dict`; a method without a name is PC-LoRA.

        Raises:
            ValueError: a key that no field has, or an unknown method.
        """
        values = dict(values)
        method = config_from_dict(values.pop("method", {}))
        return cls(method=method, **known_fields(cls, values))


def upgrade_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as an older version wrote it, under the names that its keys have now.

    Nothing is checked: what a person or a newer version wrote stays as it is.

    Example:
        >>> upgrade_config({"moves": [], "method": {"name": "svd", "spend": "energy"}})
        {'overrides': [], 'method': {'name': 'svd', 'rank_allocation': 'energy'}}
    """
    values = present_names(RunConfig, values)
    method = values.get("method")
    if isinstance(method, Mapping) and method.get("name", "pclora") in METHODS:
        values["method"] = present_names(METHODS[method.get("name", "pclora")].Config, method)
    return values
