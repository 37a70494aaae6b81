"""PC-LoRA (arXiv:2406.09117): the base weights fade out, the adapters stay.

Three calls in a training loop of your own:
``student = get_pclora_model(model, config)``, ``set_progress(student, step / steps)`` before every
step, ``small = compress(student)`` at the end.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields

import torch
from torch import Tensor, nn

from pclora_lab.methods.factorization import (
    InputMoments,
    _table_factors,
    activation_svd_factors,
    double,
    measure_inputs,
    svd_factors,
    weight_spectra,
)
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.layers import PCLoRAEmbedding, PCLoRALinear
from pclora_lab.methods.pclora.schedules import base_weight_factor
from pclora_lab.methods.rank_selection import LowRankConfig, chosen_ranks
from pclora_lab.nn.counting import ModelCounts, count_model
from pclora_lab.nn.forward import call_model, eval_mode, forward_hooks
from pclora_lab.nn.heads import is_head
from pclora_lab.nn.ranks import Rank, resolve_ranks
from pclora_lab.nn.surgery import deepcopy_sharing, find_embeddings, find_targets, replace_modules

__all__ = [
    "base_removed",
    "base_share",
    "base_shares",
    "compress",
    "drop_base",
    "get_pclora_model",
    "pclora_layers",
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
    example: Tensor | Mapping[str, Tensor] | None = None,
    calibration: Iterable[Tensor] = (),
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
        example: one input for the check that every target fires; timm and transformers models
            know theirs.
        calibration: batches of real inputs; the ``activation_svd`` start measures them.
        generator: draws A.
        counts: what :func:`count_model` gave for the model, if it was asked already.

    Returns:
        The student, at λ = 1: its logits equal the model's.

    Raises:
        ValueError: no target, a target that is tied, shared or never fires, a rank that would not
            shrink a layer, or no calibration for ``activation_svd``. The model is unchanged then.

    Example:
        >>> net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> x = torch.randn(5, 16)
        >>> config = PCLoRAConfig(rank=4, targets="^0$")
        >>> student = get_pclora_model(net, config, example=x)
        >>> torch.equal(student(x), net(x))
        True
    """
    config = config if config is not None else PCLoRAConfig()
    if any(isinstance(module, FadingLayer) for module in model.modules()):
        raise ValueError(
            f"{type(model).__name__} is a student already: it has PCLoRALinear layers. Pass the "
            "dense model that it was made from"
        )
    targets = find_targets(model, config.targets)
    tables = find_embeddings(model) if config.embeddings == "low_rank" else {}
    if counts is None:
        counts = count_model(
            model, targets=config.targets, example=example, embeddings=config.embeddings
        )
    moments = {}
    if config.init == "activation_svd":
        moments = measure_inputs(model, targets, calibration)
    if rank is not None:
        ranks = resolve_ranks(counts.layers, rank)
    else:
        ranks = chosen_ranks(config, counts, lambda: _spectra(model, config, moments))
    layers: dict[str, nn.Module] = {
        name: PCLoRALinear(base, ranks[name], scale=config.scale, generator=generator)
        for name, base in targets.items()
    }
    for name, base in tables.items():
        layers[name] = PCLoRAEmbedding(base, ranks[name], generator=generator)
    if config.init != "zeros":
        for name, layer in layers.items():
            init_residual(layer, moments.get(name))
    shared = [p for name in layers for p in model.get_submodule(name).parameters(recurse=False)]
    student = replace_modules(deepcopy_sharing(model, shared), layers)
    student.pclora_config, student.pclora_targets = config, tuple(layers)
    return _freeze_rest(student)


def _spectra(
    model: nn.Module, config: PCLoRAConfig, moments: Mapping[str, InputMoments]
) -> dict[str, Tensor]:
    return weight_spectra(model, config.targets, moments or None)


def _freeze_rest(student: nn.Module) -> nn.Module:
    """Train adapters, the head and, if asked, norms; everything else stays as pre-trained."""
    student.requires_grad_(False)
    for name, module in student.named_modules():
        is_norm = "norm" in type(module).__name__.lower()
        if is_head(name, student) or (student.pclora_config.train_norms and is_norm):
            module.requires_grad_(True)
    # Last, since the head may be a fading layer itself.
    for layer in pclora_layers(student).values():
        layer.requires_grad_(True)
        layer.base.requires_grad_(False)
    return student


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
    layers = {n: m for n, m in student.named_modules() if isinstance(m, FadingLayer)}
    if not layers:
        raise ValueError(
            f"{type(student).__name__} has no PCLoRALinear: pass what get_pclora_model returned"
        )
    return layers


def set_progress(student: nn.Module, progress: float) -> float:
    """Set λ of every layer for a point of the training, before the step is taken.

    Args:
        student: from :func:`get_pclora_model`.
        progress: ``step / total_steps`` in [0, 1].

    Returns:
        λ, exact (the layers' buffers may be rounded in half precision).

    Raises:
        ValueError: progress outside [0, 1].
    """
    config = student.pclora_config
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


def drop_base(student: nn.Module) -> nn.Module:
    """Let go of every base, in place; only allowed once λ is 0.

    Raises:
        ValueError: λ is not 0 yet; nothing is changed.
    """
    layers = pclora_layers(student)
    _require_faded(layers)
    for layer in layers.values():
        layer.drop_base()
    return student


def _require_faded(layers: Mapping[str, FadingLayer]) -> None:
    held = {n: float(m.lam) for n, m in layers.items() if m.base is not None and m.lam != 0}
    if held:
        name, lam = max(held.items(), key=lambda item: item[1])
        raise ValueError(
            f"λ is {lam:.3g} in {len(held)} of {len(layers)} layers (first: {name}): {lam:.1%} of "
            "the base's output is still added, and removing it now would change the model. Train "
            "to the end of the fade, or call set_progress(student, 1.0) to remove it all the same."
        )


def compress(student: nn.Module) -> nn.Module:
    """The deployable model: every fading layer becomes a :class:`LowRankLinear`.

    Args:
        student: after the fade, λ = 0. It is not changed.

    Returns:
        A new model that holds no base tensor, in eval mode.

    Raises:
        ValueError: λ > 0; says how much still comes from the base.
    """
    layers = pclora_layers(student)
    _require_faded(layers)
    bases = {id(p): p for m in layers.values() if m.base is not None for p in m.base.parameters()}
    small = deepcopy_sharing(student, bases.values())
    replace_modules(small, {name: layer.to_low_rank() for name, layer in layers.items()})
    del small.pclora_config, small.pclora_targets
    return small.eval()


@contextmanager
def base_removed(student: nn.Module) -> Iterator[None]:
    """Inside, the student is what it would be if the base were removed now (λ = 0)."""
    layers = list(pclora_layers(student).values())
    kept = [layer.lam.clone() for layer in layers]
    try:
        for layer in layers:
            layer.lam.zero_()
        yield
    finally:
        for layer, lam in zip(layers, kept, strict=True):
            layer.lam.copy_(lam)


def base_shares(student: nn.Module, inputs: Tensor | Mapping[str, Tensor]) -> dict[str, float]:
    """How much of each layer's output still comes from the base, measured on a batch.

    ``‖λ(Wx+b)‖ / (‖λ(Wx+b)‖ + ‖BAx+C‖)`` by layer name; 0 where the base was dropped. With a
    residual start the base's part is what is left of it once the adapter's start is taken off.
    """
    layers = pclora_layers(student)
    held = {n: m for n, m in layers.items() if m.base is not None}
    shares: dict[str, Tensor] = {}

    def measure(name: str, x: Tensor, _: object) -> None:
        base = held[name].base_output(x).float().norm()
        adapter = held[name].adapter_output(x).float().norm()
        shares[name] = base / (base + adapter).clamp_min(1e-12)

    if not held:
        return dict.fromkeys(layers, 0.0)
    with eval_mode(student), forward_hooks(held, measure):
        call_model(student, inputs)
    # One transfer from the device for all layers.
    values = torch.stack(list(shares.values())).tolist()
    return dict.fromkeys(layers, 0.0) | dict(zip(shares, values, strict=True))


def base_share(student: nn.Module, inputs: Tensor | Mapping[str, Tensor]) -> float:
    """The mean of :func:`base_shares` over the layers."""
    shares = base_shares(student, inputs)
    return sum(shares.values()) / len(shares)


def init_residual(layer: PCLoRALinear | PCLoRAEmbedding, moments: InputMoments | None) -> None:
    """Give a layer its residual start: ``svd`` without input moments, ``activation_svd`` with.

    C starts at b; with measured inputs at ``b + (W − BA) μ``, which also keeps the mean of what
    the low rank misses.
    """
    if isinstance(layer, PCLoRAEmbedding):
        rows, columns = _table_factors(layer.base.weight, layer.rank)
        return layer.start_from(*(value.to(layer.A.dtype) for value in (rows, columns)))
    weight, bias = layer.base.weight, layer.base.bias
    C = torch.zeros_like(layer.C) if bias is None else bias.detach()
    if moments is None:
        A, B = svd_factors(weight, layer.rank)
    else:
        A, B = activation_svd_factors(weight, moments.covariance, layer.rank)
        C = double(C) + (double(weight) - B @ A) @ moments.mean
    # Rounded before they move, because copy_ on mps can't take a float64 source.
    layer.start_from(*(value.to(weight.dtype) for value in (A, B, C)))
