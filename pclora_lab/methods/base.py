"""The four verbs every method answers to: apply · set_progress · loss terms · finalize.

Training, comparison, command line and lab know methods by these verbs only. A new method is one
file with a config and a class, and one line in :data:`pclora_lab.methods.METHODS`.
"""

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from pclora_lab.fields import check_number, check_options, option
from pclora_lab.methods.layer_parts import LayerParts
from pclora_lab.methods.metrics import LR_SHARE, TASK, Metric
from pclora_lab.nn.counting import ModelCounts, count_model
from pclora_lab.nn.forward import Inputs, call_model
from pclora_lab.nn.sizes import Plan, dense_plan
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.wording import shown

__all__ = [
    "LARGEST_LR",
    "SMALLEST_LR",
    "LossTerms",
    "Method",
    "MethodConfig",
    "MethodContext",
    "TaskLoss",
    "check_lr",
]

SMALLEST_LR, LARGEST_LR = 1e-9, 1e30

Batch = Inputs
# By column of the history; those named ``layer_…`` hold a value by layer.
MetricValues = dict[str, float | dict[str, float]]


def check_lr(what: str, value: object) -> None:
    """Refuse a learning rate that no optimizer can take a step with.

    Args:
        what: its name, for the message.
        value: the rate.

    Raises:
        ValueError: it is no number from 1e-9 to 1e30. AdamW divides the rate by 1 − β₁ in its first
            step, and numbers in single precision end at 3.4e38.

    Example:
        >>> check_lr("lr", 1e-3)
        >>> check_lr("lr", 1e38)
        Traceback (most recent call last):
        ValueError: lr is 1e+38: a learning rate of more than 1e+30 leads out of what single...
    """
    check_number(what, value, SMALLEST_LR, why=" (a learning rate)")
    if isinstance(value, int | float) and value > LARGEST_LR:
        raise ValueError(
            f"{what} is {shown(value)}: a learning rate of more than {LARGEST_LR:g} leads out of "
            "what single precision can hold (up to 3.4e38). Most lie between 1e-5 and 1e-1"
        )


class LossTerms(Protocol):
    """Named loss terms of a batch; ``loss`` is the one that is minimized."""

    def __call__(self, inputs: Batch, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """``progress`` is the share of the training that is done, in [0, 1)."""

    def close(self) -> None:
        """Remove whatever was hooked into the models."""


class TaskLoss:
    """The task's own loss alone, for methods that learn without a teacher."""

    def __init__(self, student: nn.Module, task: Task = IMAGE_CLASSIFICATION) -> None:
        self.student, self.task = student, task

    def __call__(self, inputs: Batch, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """``{"loss": …, "task": …}``."""
        loss = self.task.loss(call_model(self.student, inputs), labels)
        return {"loss": loss, "task": loss}

    def close(self) -> None:
        """Nothing was hooked."""


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """What every method can be told.

    Attributes:
        targets: ``blocks`` for every linear layer inside the transformer blocks, or a regular
            expression that full layer names are searched with.
    """

    name: ClassVar[str] = ""
    default_lr: ClassVar[float] = 1e-3

    targets: str = option(
        "blocks",
        "text",
        "layers",
        "'blocks' for all linear layers in the blocks, or a regular expression over names",
        hidden=True,
    )

    def __post_init__(self) -> None:
        """Validate every described field."""
        check_options(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, with the method's name."""
        return {"name": self.name, **dataclasses.asdict(self)}

    def label(self) -> str:
        """Name and the options that are not at their default, short enough for a folder."""
        changed = [
            f"{f.name}{value}"
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default
        ]
        return "-".join([self.name, *changed])[:60]


@dataclass(frozen=True, kw_only=True)
class MethodContext:
    """What a method may use to make a student; nothing of it is required by itself.

    Attributes:
        calibration: batches of real inputs, for starts that measure activations.
        generator: draws new weights.
        example: one input; timm and transformers models know theirs.
        counts: what :meth:`Method.count` has found out about the model, if it was asked already.

    Example:
        >>> MethodContext(example=torch.zeros(1, 3)).counts is None
        True
    """

    calibration: Iterable[Batch] = ()
    generator: torch.Generator | None = None
    example: Batch | None = None
    counts: ModelCounts | None = None

    @property
    def seed(self) -> int:
        """Of the generator, for libraries that draw from the global one; 0 without."""
        return 0 if self.generator is None else self.generator.initial_seed()


ConfigT = TypeVar("ConfigT", bound=MethodConfig)


class Method(Generic[ConfigT]):
    """One system, bound to its options.

    Attributes:
        name: how configs, records and the command line call it.
        title: how plots and the lab call it.
        summary: one sentence for a person who chooses.
        Config: its options.
        compresses: whether the finished model is smaller than the dense one.
        starts_from: ``teacher`` (a dense model that fits the data, fine-tuned if need be),
            ``pretrained`` (the model as loaded, its head may be new) or ``nothing``.
        trains: False for methods that are done once applied.
        fades: whether something is still taken away at the end, so that "accuracy if it were
            removed now" is a curve of its own.
        layer_parts: what a replaced layer is made of, for a picture of it; None says nothing.
        supports_replay: whether its students can be made again from what was trained, to look back.
        status_text: what the lab says while it trains.
        plot_caption: what to see in its plots.
        metrics: what its history rows hold besides what every method's do, and how that is drawn.
        lr_grid: learning rates that a comparison tries.
        in_default_comparison: whether a comparison takes it unless told otherwise.
        color: of its points where methods are compared, a color of
            :data:`pclora_lab.plots.palette.HUES` or ``#rrggbb``.
        marker: of its points, as matplotlib calls it.
        task: that its students learn; see :meth:`for_task`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[MethodConfig]]
    compresses: ClassVar[bool] = True
    starts_from: str = "teacher"
    trains: ClassVar[bool] = True
    fades: ClassVar[bool] = False
    layer_parts: ClassVar[LayerParts | None] = None
    supports_replay: ClassVar[bool] = False
    status_text: ClassVar[str] = "training"
    plot_caption: ClassVar[str] = "The blue curve is the student's accuracy on validation examples."
    metrics: ClassVar[tuple[Metric, ...]] = (TASK, LR_SHARE)
    lr_grid: ClassVar[tuple[float, ...]] = (1e-3, 3e-3)
    in_default_comparison: ClassVar[bool] = False
    color: ClassVar[str] = "ink"
    marker: ClassVar[str] = "."
    task: Task = IMAGE_CLASSIFICATION

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @classmethod
    def default_config(cls) -> MethodConfig:
        """The options that a comparison takes unless told otherwise."""
        return cls.Config()

    def for_task(self, task: Task) -> Self:
        """The same method with the losses of a task."""
        if task is self.task:
            return self
        same = copy.copy(self)
        same.task = task
        return same

    def apply(self, model: nn.Module, context: MethodContext = MethodContext()) -> nn.Module:
        """A student; the model is not changed.

        Args:
            model: what :attr:`starts_from` says.
            context: real inputs, a generator and what is known about the model.
        """
        raise NotImplementedError

    def set_progress(self, student: nn.Module, progress: float) -> MetricValues:
        """Move the student to a point of the training; returns metrics for its history row."""
        return {}

    def override_lambda(self, student: nn.Module, lam: float) -> MetricValues:
        """Set λ by hand instead of by the training's progress; metrics for the history row.

        Raises:
            ValueError: the method has no λ.
        """
        raise ValueError(f"{self.title} has no λ to hold: choose a method that fades, like PC-LoRA")

    def loss_terms(self, student: nn.Module, teacher: nn.Module) -> LossTerms:
        """What is minimized."""
        return TaskLoss(student, self.task)

    def after_backward(self, student: nn.Module) -> None:
        """Look at the gradients of a step, before the optimizer uses them."""

    def measure(self, student: nn.Module, probe: Batch) -> MetricValues:
        """Metrics that need a forward pass, taken now and then."""
        return {}

    def notes(self, student: nn.Module) -> list[str]:
        """What a person should know about a student whose training is over, a sentence each."""
        return []

    def state_dict(self, student: nn.Module) -> dict[str, Tensor]:
        """What the training changes beside the student's own ``state_dict``, for a checkpoint."""
        return {}

    def load_state_dict(self, student: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state_dict` returned, into a student made by :meth:`apply`."""

    def without_base(self, student: nn.Module) -> AbstractContextManager[None] | None:
        """Inside, the student is what it would be if the training ended now; None: it is."""
        return None

    def finalize(self, student: nn.Module) -> nn.Module:
        """The deployable model, in eval mode; the student is not changed."""
        raise NotImplementedError

    def count(self, model: nn.Module) -> ModelCounts:
        """Trace the layers that the method replaces; see :func:`count_model`."""
        embeddings = getattr(self.config, "embeddings", "dense")
        return count_model(model, targets=self.config.targets, embeddings=embeddings)

    def plan(self, counts: ModelCounts, model: nn.Module) -> Plan:
        """The sizes before anything is trained.

        Args:
            counts: trace of the dense model.
            model: the dense model, perhaps without storage.
        """
        return dense_plan(counts)

    def layer_ranks(self, counts: ModelCounts, model: nn.Module) -> dict[str, int]:
        """Ranks of the replaced layers by name, as far as they are known without their weights.

        Args:
            counts: trace of the dense model.
            model: the dense model, perhaps without storage.
        """
        if getattr(self.config, "rank_allocation", "uniform") != "uniform":
            return {}
        return self.plan(counts, model).ranks

    def with_budget(self, budget: float) -> "Method[ConfigT]":
        """The same method, told which share of the replaced layers' parameters to keep or train.

        A method without such an option is returned as it is.
        """
        if not hasattr(self.config, "budget"):
            return self
        options: dict[str, Any] = {"budget": budget}
        return type(self)(replace(self.config, **options))
