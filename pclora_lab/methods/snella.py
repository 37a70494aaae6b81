"""SNELLA (arXiv:2510.24037): sparse tuning through a kernel, layers competing for a budget.

It adapts and does not compress: the finished model is dense and as large as before. Its point is
accuracy at little training memory. The maths is in :mod:`pclora_lab.kernels`, the layer in
:mod:`pclora_lab.kernel_sparse`, the competition in :mod:`pclora_lab.allocation`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pclora_lab.accounting import ModelCounts, count_model
from pclora_lab.allocation import BudgetAllocator, allocate
from pclora_lab.config import MethodConfig, budget_option
from pclora_lab.kernel_sparse import KernelSparseLinear
from pclora_lab.kernels import KERNELS, RULES, merge_factors, sparsify
from pclora_lab.methods.base import Batch, Method, is_head, lora_rank
from pclora_lab.options import option
from pclora_lab.surgery import copy_sharing, find_targets, replace_modules

__all__ = [
    "SNELLA",
    "SNELLAConfig",
    "allocate",
    "get_snella_model",
    "kernel_sparse_layers",
    "merge",
    "merge_factors",
    "sparsify",
]


@dataclass(frozen=True, kw_only=True)
class SNELLAConfig(MethodConfig):
    """How SNELLA tunes.

    Attributes:
        rank: r of the factors, even.
        sparsity: share of the layers' weights that may not change at the end.
        budget: share of the layers' parameters for the factors, and of the weights that may
            change; overrides ``rank`` and ``sparsity``.
        kernel: how the factors become a matrix; see :func:`merge_factors`.
        rule: what becomes of the entries above the threshold; see :func:`sparsify`.
        start_sparsity: sparsity in the beginning; the budget falls from there along a cubic.
        allocations: how often the layers compete during the training; the paper does it every
            epoch. 1 gives every layer the same number of weights, from the start.
        floor: weights that every layer keeps in any case; the paper's 0 lets a layer starve.
        warmup: share of the training at the starting budget.
        hold: share of the training at the final budget.
        dropout: on the branch's input. The paper's recipe has 0.1; with 0 a layer needs one
            product instead of two.

    Raises:
        ValueError: a value out of its range, or an odd rank.

    Example:
        >>> SNELLAConfig(rank=4).kernel
        'piecewise_linear'
    """

    name: ClassVar[str] = "snella"
    usual_lr: ClassVar[float] = 1e-2

    rank: int = option(8, "whole", "rank r", "rank of the factors, even", low=2, sizes=True)
    budget: float | None = budget_option()
    sparsity: float = option(
        0.9, "number", "sparsity", "share of the weights that may not change", low=0, high=1,
        sizes=True,
    )  # fmt: skip
    kernel: str = option(
        "piecewise_linear", "choice", "kernel", "how factors become a matrix", choices=KERNELS
    )
    rule: str = option(
        "squared",
        "choice",
        "sparsifier",
        "what becomes of the entries above the threshold",
        choices=RULES,
    )
    start_sparsity: float = option(
        0.0, "number", "start sparsity", "sparsity in the beginning", low=0, high=1
    )
    allocations: int = option(
        20, "whole", "allocations", "how often layers compete for the budget", low=1
    )
    floor: int = option(0, "whole", "floor", "weights that every layer keeps", low=0)
    warmup: float = option(
        0.0, "number", "budget warm-up", "share at the start budget", low=0, high=1, hidden=True
    )
    hold: float = option(
        0.0, "number", "budget hold", "share at the final budget", low=0, high=1, hidden=True
    )
    dropout: float = option(
        0.0, "number", "dropout", "on the branch's input", low=0, high=0.9, hidden=True
    )

    def __post_init__(self) -> None:
        """Validate; factors come in two halves."""
        super().__post_init__()
        if self.rank % 2:
            raise ValueError(
                f"rank {self.rank} is odd: SNELLA's factors come in two halves; use "
                f"{self.rank - 1} or {self.rank + 1}"
            )
        if self.warmup + self.hold > 1:
            raise ValueError(
                f"warmup {self.warmup} and hold {self.hold} are more than the whole training: "
                "together they may be 1"
            )


def get_snella_model(
    model: nn.Module,
    config: SNELLAConfig | None = None,
    *,
    generator: torch.Generator | None = None,
    example: Batch | None = None,
    counts: ModelCounts | None = None,
) -> nn.Module:
    """A student whose target layers are :class:`KernelSparseLinear` around the model's weights.

    Trained: the factors, the head and the class token. The frozen weights are shared.

    Args:
        model: a pre-trained model; it is not changed.
        config: rank, kernel, sparsity and competition.
        generator: draws the factors.
        example: one input; timm and transformers models know theirs.
        counts: what :func:`count_model` gave for the model, if it was asked already.

    Raises:
        ValueError: no target, one that is tied or never fires, or a budget too small for rank 2.
    """
    config = config if config is not None else SNELLAConfig()
    targets = find_targets(model, config.targets)
    if counts is None:
        counts = count_model(model, targets=config.targets, example=example)
    rank = _even_rank(config, counts.layers)
    layers = {
        name: KernelSparseLinear(
            base,
            rank,
            kernel=config.kernel,
            sparsity=config.start_sparsity,
            rule=config.rule,
            dropout=config.dropout,
            generator=generator,
        )
        for name, base in targets.items()
    }
    shared = [p for base in targets.values() for p in base.parameters(recurse=False)]
    student = replace_modules(copy_sharing(model, shared), layers)
    student.snella_allocator = _allocator(layers, config)
    student.snella_allocated = -1
    return _freeze_rest(student)


def _even_rank(config: SNELLAConfig, layers: Iterable[object]) -> int:
    rank = lora_rank(config, layers, smallest=2)
    return rank - rank % 2


def _allocator(layers: dict[str, KernelSparseLinear], config: SNELLAConfig) -> BudgetAllocator:
    weights = sum(layer.in_features * layer.out_features for layer in layers.values())
    final = 1 - config.sparsity if config.budget is None else config.budget
    return BudgetAllocator(
        layers,
        round(weights * max(1 - config.start_sparsity, final)),
        round(weights * final),
        floor=config.floor,
        warmup=config.warmup,
        hold=config.hold,
    )


def _freeze_rest(student: nn.Module) -> nn.Module:
    student.requires_grad_(False)
    for name, module in student.named_modules():
        if is_head(name, student):
            module.requires_grad_(True)
    for name, parameter in student.named_parameters():
        if name.rpartition(".")[2] == "cls_token":
            parameter.requires_grad_(True)
    for layer in kernel_sparse_layers(student).values():
        layer.requires_grad_(True)
        layer.base.requires_grad_(False)
    return student


def kernel_sparse_layers(student: nn.Module) -> dict[str, KernelSparseLinear]:
    """The student's sparsely tuned layers by name."""
    return {n: m for n, m in student.named_modules() if isinstance(m, KernelSparseLinear)}


def merge(student: nn.Module) -> nn.Module:
    """The plain dense model: every layer becomes an ``nn.Linear`` of weight ``W + Sᵀ``.

    Returns:
        A new model in eval mode; the student is not changed.
    """
    layers = kernel_sparse_layers(student)
    bases = [p for layer in layers.values() for p in layer.base.parameters()]
    allocator = student.__dict__.pop("snella_allocator", None)
    try:
        merged = copy_sharing(student, bases)
    finally:
        if allocator is not None:
            student.snella_allocator = allocator
    return replace_modules(merged, {n: layer.to_linear() for n, layer in layers.items()}).eval()


class SNELLA(Method):
    """SNELLA behind the four verbs."""

    name = "snella"
    title = "SNELLA"
    summary = "Tune a few weights of every layer, chosen by a kernel; layers compete for them."
    Config = SNELLAConfig
    compresses = False
    starts_from = "pretrained"
    reading = (
        "The budget of weights that may change falls to its final value; layers that no longer "
        "get any are counted below it."
    )
    reports = ("density", "starved", "task")
    lrs = (1.2e-2, 2.4e-2)

    def apply(
        self,
        model: nn.Module,
        *,
        calibration: Iterable[Tensor] = (),
        generator: torch.Generator | None = None,
        example: Batch | None = None,
        counts: ModelCounts | None = None,
    ) -> nn.Module:
        """See :func:`get_snella_model`."""
        return get_snella_model(
            model, self.config, generator=generator, example=example, counts=counts
        )

    def set_progress(self, student: nn.Module, progress: float) -> dict[str, object]:
        """Let the layers compete when it is time; says who got how much."""
        # The last competition takes the final budget at once: what is cut after the last step
        # could not be trained on.
        last = self.config.allocations - 1
        index = min(int(progress * self.config.allocations), last)
        if index != student.snella_allocated:
            student.snella_allocated = index
            student.snella_allocator.reallocate(1.0 if index == last else progress)
        layers = kernel_sparse_layers(student)
        sizes = {name: layer.in_features * layer.out_features for name, layer in layers.items()}
        tuned = {name: layer.tuned for name, layer in layers.items()}
        return {
            "density": sum(tuned.values()) / sum(sizes.values()),
            "starved": sum(count == 0 for count in tuned.values()) / len(tuned),
            "layer_density": {name: tuned[name] / sizes[name] for name in tuned},
        }

    def after_backward(self, student: nn.Module) -> None:
        """Let the allocator see the gradients."""
        student.snella_allocator.update()

    def read_state(self, student: nn.Module) -> dict[str, Tensor]:
        """The allocator's averages, the last competition, and how much each layer won."""
        tuned = [layer.tuned for layer in kernel_sparse_layers(student).values()]
        last = {"allocated": torch.tensor(student.snella_allocated), "tuned": torch.tensor(tuned)}
        return student.snella_allocator.read_state() | last

    def write_state(self, student: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`read_state` read."""
        student.snella_allocated = int(state["allocated"])
        layers = kernel_sparse_layers(student).values()
        for layer, tuned in zip(layers, state["tuned"].tolist(), strict=True):
            layer.set_tuned(tuned)
        student.snella_allocator.write_state(state)

    def finish(self, student: nn.Module) -> nn.Module:
        """See :func:`merge`."""
        return merge(student)
