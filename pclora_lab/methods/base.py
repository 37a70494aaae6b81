"""The four verbs every method answers to: apply · set_progress · loss terms · finish.

Training, comparison, command line and lab know methods by these verbs only. A new method is one
file with a config and a class, and one line in :data:`pclora_lab.methods.METHODS`.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from pclora_lab.accounting import (
    LayerCount,
    ModelCounts,
    Plan,
    count_model,
    plan,
    resolve_ranks,
)
from pclora_lab.batches import Inputs
from pclora_lab.budgets import ranks_for_budget
from pclora_lab.config import LowRankConfig, MethodConfig
from pclora_lab.surgery import call_model
from pclora_lab.tasks import classification_loss

# timm's, transformers' (pre_classifier is DistilBERT's), and the usual ones.
_HEADS = {"head", "classifier", "pre_classifier", "score", "fc"}

__all__ = ["LossTerms", "Method", "TaskLoss", "chosen_ranks", "dense_plan", "is_head"]

Batch = Inputs


class LossTerms(Protocol):
    """Named loss terms of a batch; ``loss`` is the one that is minimised."""

    def __call__(self, inputs: Batch, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """``progress`` is the share of the training that is done, in [0, 1)."""

    def close(self) -> None:
        """Remove whatever was hooked into the models."""


class TaskLoss:
    """Cross-entropy alone, for methods that learn without a teacher."""

    def __init__(self, student: nn.Module) -> None:
        self.student = student

    def __call__(self, inputs: Batch, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """``{"loss": …, "task": …}``."""
        task = classification_loss(call_model(self.student, inputs), labels)
        return {"loss": task, "task": task}

    def close(self) -> None:
        """Nothing was hooked."""


class Method:
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
        replays: whether its students can be made again from what was trained, to look back.
        doing: what the lab says while it trains.
        reading: what to see in its plots.
        reports: columns of its history rows, besides those that every method has.
        lrs: learning rates that a comparison tries.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[MethodConfig]]
    compresses: ClassVar[bool] = True
    starts_from: str = "teacher"
    trains: ClassVar[bool] = True
    fades: ClassVar[bool] = False
    replays: ClassVar[bool] = False
    doing: ClassVar[str] = "training"
    reading: ClassVar[str] = "The blue curve is the student's accuracy on validation examples."
    reports: ClassVar[tuple[str, ...]] = ("task", "lr_share")
    lrs: ClassVar[tuple[float, ...]] = (1e-3, 3e-3)

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    @classmethod
    def usual(cls) -> MethodConfig:
        """The options that a comparison takes unless told otherwise."""
        return cls.Config()

    def apply(
        self,
        model: nn.Module,
        *,
        calibration: Iterable[Batch] = (),
        generator: torch.Generator | None = None,
        example: Batch | None = None,
        counts: ModelCounts | None = None,
    ) -> nn.Module:
        """A student; the model is not changed.

        Args:
            model: what :attr:`starts_from` says.
            calibration: batches of real inputs, for starts that measure activations.
            generator: draws new weights.
            example: one input; timm and transformers models know theirs.
            counts: what :meth:`count` has found out about this model, if it was asked already.
        """
        raise NotImplementedError

    def set_progress(self, student: nn.Module, progress: float) -> dict[str, float]:
        """Move the student to a point of the training; returns facts for its history row."""
        return {}

    def hold(self, student: nn.Module, lam: float) -> dict[str, float]:
        """Set λ by hand instead of by the training's progress; facts for the history row.

        Raises:
            ValueError: the method has no λ.
        """
        raise ValueError(f"{self.title} has no λ to hold: choose a method that fades, like PC-LoRA")

    def loss_terms(self, student: nn.Module, teacher: nn.Module) -> LossTerms:
        """What is minimised."""
        return TaskLoss(student)

    def after_backward(self, student: nn.Module) -> None:
        """Look at the gradients of a step, before the optimiser uses them."""

    def measure(self, student: nn.Module, probe: Batch) -> dict[str, Any]:
        """Facts that need a forward pass, taken now and then; those named ``layer_…`` by layer."""
        return {}

    def read_state(self, student: nn.Module) -> dict[str, Tensor]:
        """What the training changes beside trained parameters and buffers, for a checkpoint."""
        return {}

    def write_state(self, student: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`read_state` read."""

    def as_finished(self, student: nn.Module) -> AbstractContextManager[None] | None:
        """Inside, the student is what it would be if the training ended now; None: it is."""
        return None

    def finish(self, student: nn.Module) -> nn.Module:
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

    def with_budget(self, budget: float) -> "Method":
        """The same method, told which share of the replaced layers' parameters to keep or train.

        A method without such an option is returned as it is.
        """
        if not hasattr(self.config, "budget"):
            return self
        return type(self)(replace(self.config, budget=budget))


def chosen_ranks(
    config: LowRankConfig, counts: ModelCounts, spectra: Callable[[], Mapping[str, Tensor]]
) -> dict[str, int]:
    """Ranks as the config says: given, or bought with a budget.

    With ``spend="energy"`` and no budget, what the given rank would cost is the budget.

    Args:
        config: rank, budget, unit and how it is spent.
        counts: trace of the dense model.
        spectra: singular values by layer, only asked for if they are needed.
    """
    if config.budget is None and config.spend == "uniform":
        return resolve_ranks(counts.layers, config.rank)
    budget = config.budget if config.budget is not None else _share_kept(config, counts)
    values = spectra() if config.spend == "energy" else None
    return ranks_for_budget(counts, budget, unit=config.unit, spend=config.spend, spectra=values)


def _share_kept(config: LowRankConfig, counts: ModelCounts) -> float:
    kept = plan(counts, config.rank).replaced
    if config.unit == "macs":
        return kept.macs_after / kept.macs_before
    return kept.params_after / kept.params_before


def planned_ranks(config: LowRankConfig, counts: ModelCounts) -> dict[str, int]:
    """As :func:`chosen_ranks`, from the architecture alone: energy is planned as uniform."""
    return chosen_ranks(replace(config, spend="uniform"), counts, dict)


def lora_rank(config: Any, layers: Iterable[LayerCount], smallest: int = 1) -> int:
    """The given rank, or the largest whose adapters (A and B) fit into the budget.

    Raises:
        ValueError: not even the smallest rank fits; names the smallest budget that does.
    """
    if config.budget is None:
        return config.rank
    layers = tuple(layers)
    each = sum(layer.in_features + layer.out_features for layer in layers)
    room = sum(layer.params for layer in layers)
    rank = int(config.budget * room / each)
    if rank < smallest:
        raise ValueError(
            f"budget {config.budget:g} is too small for rank {smallest} in {len(layers)} layers: "
            f"the smallest possible is {smallest * each / room:.4f}"
        )
    return rank


def dense_plan(counts: ModelCounts) -> Plan:
    """The sizes of a method that leaves the model as large as it is."""
    whole = plan(counts, {layer.name: 1 for layer in counts.layers})
    return Plan(
        dense=whole.dense,
        replaced=_unchanged(whole.replaced),
        whole_model=_unchanged(whole.whole_model),
        ranks={},
        break_even_rank=counts.break_even_rank,
    )


def _unchanged(size: Any) -> Any:
    return replace(
        size,
        params_after=size.params_before,
        params_removed=0.0,
        macs_after=size.macs_before,
        macs_removed=0.0,
        bytes_after=size.bytes_before,
    )


def is_head(name: str, model: nn.Module) -> bool:
    """Whether a module is the classifier, by timm's own record or by the usual names."""
    classifier = (getattr(model, "pretrained_cfg", None) or {}).get("classifier")
    heads = {classifier} if isinstance(classifier, str) else set(classifier or ())
    return name in heads or name in _HEADS
