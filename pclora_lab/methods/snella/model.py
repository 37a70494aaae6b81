"""A student of SNELLA: kernel-sparse layers around frozen weights; merged again at the end."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from pclora_lab.methods.base import Batch
from pclora_lab.methods.rank_selection import lora_rank
from pclora_lab.methods.snella.allocation import BudgetAllocator
from pclora_lab.methods.snella.config import SNELLAConfig
from pclora_lab.methods.snella.layers import KernelSparseLinear
from pclora_lab.methods.trial import try_student, unchanged_on_failure
from pclora_lab.nn.counting import LayerCount, ModelCounts, count_model
from pclora_lab.nn.heads import is_head
from pclora_lab.nn.layers.sharing import note_owner
from pclora_lab.nn.layers.wrappers import innermost, unwrapped
from pclora_lab.nn.surgery import deepcopy_sharing, find_targets, refuse_attention, replace_modules

__all__ = [
    "allocator_of",
    "get_snella_model",
    "kernel_sparse_layers",
    "last_allocation",
    "merge",
]


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
        ValueError: no target, one that is tied or never fires, a budget too small for rank 2, or a
            student that would not run. The model is unchanged then.
    """
    config, model = config if config is not None else SNELLAConfig(), unwrapped(model)
    targets = find_targets(model, config.targets)
    refuse_attention(model, config.targets)
    if counts is None:
        counts = count_model(model, targets=config.targets, example=example)
    rank = _even_rank(config, counts.layers)
    with unchanged_on_failure(model):
        student = _student(model, config, targets, rank, generator)
        return try_student(student, model, example, bases=targets)


def _student(
    model: nn.Module,
    config: SNELLAConfig,
    targets: Mapping[str, nn.Linear],
    rank: int,
    generator: torch.Generator | None,
) -> nn.Module:
    layers = {
        name: KernelSparseLinear(
            base,
            rank,
            kernel=config.kernel,
            sparsity=config.start_sparsity,
            sparsifier=config.sparsifier,
            dropout=config.dropout,
            generator=generator,
        )
        for name, base in targets.items()
    }
    shared = [p for base in targets.values() for p in base.parameters(recurse=False)]
    student = replace_modules(deepcopy_sharing(model, shared), layers)
    vars(student).update(snella_allocator=_allocator(layers, config), snella_allocated=-1)
    note_owner(layers.values(), model)
    return _freeze_rest(student)


def _even_rank(config: SNELLAConfig, layers: Iterable[LayerCount]) -> int:
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
    named = innermost(student).named_modules()
    return {n: m for n, m in named if isinstance(m, KernelSparseLinear)}


def allocator_of(student: nn.Module) -> BudgetAllocator:
    """What hands the student's budget out.

    Raises:
        ValueError: it is no student of SNELLA.
    """
    allocator = getattr(innermost(student), "snella_allocator", None)
    if not isinstance(allocator, BudgetAllocator):
        raise ValueError(
            f"{type(student).__name__} has no budget allocator: pass what get_snella_model returned"
        )
    return allocator


def last_allocation(student: nn.Module) -> int:
    """Number of the competition that was held last, from 0; -1 before the first."""
    return int(getattr(innermost(student), "snella_allocated", -1))


def merge(student: nn.Module) -> nn.Module:
    """The plain dense model: every layer becomes an ``nn.Linear`` of weight ``W + Sᵀ``.

    Returns:
        A new model in eval mode; the student is not changed.
    """
    student = unwrapped(student)
    layers = kernel_sparse_layers(student)
    bases = [p for layer in layers.values() for p in layer.base.parameters()]
    # The allocator knows the student's layers, which the copy must not take along.
    allocator = vars(student).pop("snella_allocator", None)
    try:
        merged = deepcopy_sharing(student, bases)
    finally:
        if allocator is not None:
            vars(student).update(snella_allocator=allocator)
    return replace_modules(merged, {n: layer.to_linear() for n, layer in layers.items()}).eval()
