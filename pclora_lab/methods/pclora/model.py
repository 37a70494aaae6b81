"""PC-LoRA (arXiv:2406.09117): the base weights fade out, the adapters stay.

Three calls in a training loop of your own:
``student = get_pclora_model(model, config)``, ``set_progress(student, step / steps)`` before every
step, ``small = compress(student)`` at the end.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields

import torch
from torch import Tensor, nn

from pclora_lab.methods.factorization import weight_spectra
from pclora_lab.methods.input_moments import InputMoments, measure_inputs
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.initialization import init_residual
from pclora_lab.methods.pclora.layers import PCLoRAEmbedding, PCLoRALinear
from pclora_lab.methods.pclora.schedules import base_weight_factor
from pclora_lab.methods.rank_selection import LowRankConfig, chosen_ranks
from pclora_lab.methods.trial import try_student, unchanged_on_failure
from pclora_lab.nn.counting import ModelCounts, count_model
from pclora_lab.nn.forward import Inputs
from pclora_lab.nn.heads import is_head
from pclora_lab.nn.layers.sharing import note_owner
from pclora_lab.nn.layers.wrappers import innermost, unwrapped
from pclora_lab.nn.ranks import Rank, resolve_ranks
from pclora_lab.nn.surgery import (
    deepcopy_sharing,
    find_embeddings,
    find_targets,
    refuse_attention,
    replace_modules,
)

__all__ = [
    "get_pclora_model",
    "pclora_config",
    "pclora_layers",
    "pclora_targets",
    "set_base_weight_factor",
    "set_progress",
    "student_config",
]

FadingLayer = PCLoRALinear | PCLoRAEmbedding


def get_pclora_model(
    model: nn.Module,
    config: PCLoRAConfig | None = None,
    *,
    rank: Rank | None = None,
    example: Inputs | None = None,
    calibration: Iterable[Inputs] = (),
    generator: torch.Generator | None = None,
    counts: ModelCounts | None = None,
) -> nn.Module:
    """A student whose target layers are :class:`PCLoRALinear` around the model's own weights.

    The model becomes the teacher and keeps working. Its target weights are frozen and shared with
    the student (one copy in memory); everything else that trains is the student's own.

    Args:
        model: a pre-trained model.
        config: rank, schedule, start and targets.
        rank: overrides ``config.rank``; may be a rank by layer name.
        example: one input, for the check that every target fires and for the trial; timm and
            transformers models know theirs.
        calibration: batches of real inputs; the ``activation_svd`` start measures them.
        generator: draws A.
        counts: what :func:`count_model` gave for the model, if it was asked already.

    Returns:
        The student, at λ = 1: its logits equal the model's. It was tried on one example, forward
        and backward (see :func:`pclora_lab.methods.trial.try_student`).

    Raises:
        ValueError: no target, a target that is tied, shared or never fires, a rank that would not
            shrink a layer, no calibration for ``activation_svd``, or a student that would not run.
            The model is unchanged then.

    Example:
        >>> net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> x = torch.randn(5, 16)
        >>> config = PCLoRAConfig(rank=4, targets="^0$")
        >>> student = get_pclora_model(net, config, example=x)
        >>> torch.equal(student(x), net(x))
        True
    """
    config, model = config if config is not None else PCLoRAConfig(), unwrapped(model)
    if any(isinstance(module, FadingLayer) for module in model.modules()):
        raise ValueError(
            f"{type(model).__name__} is a student already: it has PCLoRALinear layers. Pass the "
            "dense model that it was made from"
        )
    targets = find_targets(model, config.targets)
    refuse_attention(model, config.targets)
    tables = find_embeddings(model) if config.embeddings == "low_rank" else {}
    if counts is None:
        counts = count_model(
            model, targets=config.targets, example=example, embeddings=config.embeddings
        )
    moments: dict[str, InputMoments] = {}
    if config.init == "activation_svd":
        moments = measure_inputs(model, targets, calibration)
    if rank is not None:
        ranks = resolve_ranks(counts.layers, rank)
    else:
        ranks = chosen_ranks(config, counts, lambda: _spectra(model, config, moments))
    with unchanged_on_failure(model):
        layers = _layers(targets, tables, ranks, config, moments, generator)
        student = _student(model, config, layers)
        return try_student(student, model, example, exact=True, bases=targets)


def _layers(
    targets: Mapping[str, nn.Linear],
    tables: Mapping[str, nn.Embedding],
    ranks: Mapping[str, int],
    config: PCLoRAConfig,
    moments: dict[str, InputMoments],
    generator: torch.Generator | None,
) -> dict[str, FadingLayer]:
    layers: dict[str, FadingLayer] = {
        name: PCLoRALinear(base, ranks[name], scale=config.scale, generator=generator)
        for name, base in targets.items()
    }
    layers |= {
        name: PCLoRAEmbedding(base, ranks[name], generator=generator)
        for name, base in tables.items()
    }
    if config.init != "zeros":
        for name, layer in layers.items():
            init_residual(layer, moments.pop(name, None))  # a large model's take gigabytes
    return layers


def _student(
    model: nn.Module, config: PCLoRAConfig, layers: Mapping[str, FadingLayer]
) -> nn.Module:
    """A copy that has the layers and shares the weights inside them."""
    shared = [p for name in layers for p in model.get_submodule(name).parameters(recurse=False)]
    for name, layer in layers.items():  # a new module is in training mode
        layer.train(model.get_submodule(name).training)
    student = replace_modules(deepcopy_sharing(model, shared), layers)
    vars(student).update(pclora_config=config, pclora_targets=tuple(layers))
    note_owner(layers.values(), model)
    return freeze_rest(student, config.train_norms)


def _spectra(
    model: nn.Module, config: PCLoRAConfig, moments: Mapping[str, InputMoments]
) -> dict[str, Tensor]:
    return weight_spectra(model, config.targets, moments or None)


def freeze_rest(student: nn.Module, train_norms: bool) -> nn.Module:
    """Train adapters, the head and, if asked, norms; everything else stays as pre-trained."""
    student.requires_grad_(False)
    for name, module in student.named_modules():
        is_norm = "norm" in type(module).__name__.lower()
        if is_head(name, student) or (train_norms and is_norm):
            module.requires_grad_(True)
    # Last, since the head may be a fading layer itself.
    for layer in pclora_layers(student).values():
        layer.requires_grad_(True)
        if layer.base is not None:
            layer.base.requires_grad_(False)
    return student


def pclora_config(student: nn.Module) -> PCLoRAConfig:
    """The config that a student was made with.

    Raises:
        ValueError: it is no student.
    """
    config = getattr(innermost(student), "pclora_config", None)
    if not isinstance(config, PCLoRAConfig):
        raise ValueError(_not_a_student(student))
    return config


def pclora_targets(student: nn.Module) -> tuple[str, ...]:
    """Names of the layers that fade, in the order of the model; none where it is no student."""
    return tuple(getattr(innermost(student), "pclora_targets", ()))


def _not_a_student(model: nn.Module) -> str:
    return f"{type(model).__name__} has no PCLoRALinear: pass what get_pclora_model returned"


def student_config(config: LowRankConfig) -> PCLoRAConfig:
    """What a student of PC-LoRA, or of a method that builds on it, is made with."""
    names = {f.name for f in fields(PCLoRAConfig)}
    return PCLoRAConfig(
        **{f.name: getattr(config, f.name) for f in fields(config) if f.name in names}
    )


def pclora_layers(student: nn.Module) -> dict[str, FadingLayer]:
    """The student's fading layers by name.

    Raises:
        ValueError: there are none.
    """
    named = innermost(student).named_modules()
    layers = {n: m for n, m in named if isinstance(m, FadingLayer)}
    if not layers:
        raise ValueError(_not_a_student(student))
    return layers


def set_progress(student: nn.Module, progress: float) -> float:
    """Set λ of every layer for a point of the training, before the step is taken.

    Args:
        student: from :func:`get_pclora_model`, or what a training has wrapped it in: compiled, or
            ``DistributedDataParallel``.
        progress: ``step / total_steps`` in [0, 1].

    Returns:
        λ, exact (the layers' buffers may be rounded in half precision).

    Raises:
        ValueError: progress outside [0, 1].
    """
    config = pclora_config(student)
    lam = base_weight_factor(progress, config.schedule, config.fade_end)
    set_base_weight_factor(student, lam)
    return lam


def set_base_weight_factor(student: nn.Module, lam: float) -> None:
    """Set λ of every layer by hand.

    Raises:
        ValueError: λ outside [0, 1].
    """
    if not 0 <= lam <= 1:
        raise ValueError(f"λ is {lam}: it must be in [0, 1]")
    for layer in pclora_layers(student).values():
        layer.lam.fill_(lam)
