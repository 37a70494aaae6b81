"""How much of a student still rests on its base, and taking the base away."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pclora_lab.methods.pclora.fading import UNFADED, leans_on_base
from pclora_lab.methods.pclora.model import FadingLayer, pclora_layers
from pclora_lab.nn.forward import (
    Inputs,
    call_model,
    eval_mode,
    forward_hooks,
    real_tokens,
    token_mask,
)
from pclora_lab.nn.generators import generators_kept
from pclora_lab.nn.layers.finite import check_weights_finite
from pclora_lab.nn.layers.wrappers import innermost, unwrapped
from pclora_lab.nn.surgery import deepcopy_sharing, replace_modules

__all__ = ["base_removed", "base_share", "base_shares", "compress", "drop_base", "trained_lambda"]


def drop_base(student: nn.Module, *, allow_unfaded: bool = False) -> nn.Module:
    """Let go of every base, in place; only allowed once λ is 0.

    Args:
        student: with or without its base.
        allow_unfaded: also where the weights were last trained above λ = 0.1.

    Raises:
        ValueError: λ is not 0 yet, or the weights lean on the base; nothing is changed.
    """
    layers = pclora_layers(student)
    _require_faded(layers)
    if not allow_unfaded and any(layer.base is not None for layer in layers.values()):
        _require_trained_faded(layers)
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
            "to the end of the fade, or call set_progress(student, 1.0) and pass "
            "allow_unfaded=True to remove it all the same."
        )


def trained_lambda(student: nn.Module) -> float | None:
    """The largest λ of the last training step of any layer; None before the first one.

    Raises:
        ValueError: it is no student.
    """
    return _largest(pclora_layers(student))[1]


def _largest(layers: Mapping[str, FadingLayer]) -> tuple[str, float | None]:
    # One transfer from the device for all layers.
    values = torch.stack([m.trained_lam.float().to("cpu") for m in layers.values()]).tolist()
    known = {n: v for n, v in zip(layers, values, strict=True) if not math.isnan(v)}
    return max(known.items(), key=lambda item: item[1]) if known else ("", None)


def _require_trained_faded(layers: Mapping[str, FadingLayer]) -> None:
    name, lam = _largest(layers)
    if lam is not None and leans_on_base(lam):
        raise ValueError(
            f"the weights of {name} were last trained at λ = {lam:.2f}, so they lean on a base "
            f"that λ = 0 takes away: train on at λ ≤ {UNFADED:g}, load weights of such a step, or "
            "pass allow_unfaded=True to remove the base all the same"
        )


def compress(student: nn.Module, *, allow_unfaded: bool = False) -> nn.Module:
    """The deployable model: every fading layer becomes a :class:`LowRankLinear`.

    Args:
        student: after the fade, λ = 0. It is not changed.
        allow_unfaded: also where the weights were last trained above λ = 0.1, as those of a
            checkpoint from the middle of the fade. A student that was never trained needs it not.

    Returns:
        A new model that holds no base tensor, in eval mode.

    Raises:
        ValueError: λ > 0, or the weights belong to a larger λ; says how much still comes from the
            base.
        NotFinite: a weight is NaN or infinite; names it.
    """
    student = unwrapped(student)
    layers = pclora_layers(student)
    _require_faded(layers)
    if not allow_unfaded:
        _require_trained_faded(layers)
    bases = {id(p): p for m in layers.values() if m.base is not None for p in m.base.parameters()}
    small = deepcopy_sharing(student, bases.values())
    with generators_kept():  # a new layer draws an A, which is replaced at once
        replace_modules(small, {name: layer.to_low_rank() for name, layer in layers.items()})
    for name in ("pclora_config", "pclora_targets"):
        vars(small).pop(name, None)
    check_weights_finite(small, "the training has diverged, so compress an earlier student")
    return small.eval()


@contextmanager
def base_removed(student: nn.Module) -> Iterator[None]:
    """Inside, the student is what it would be if the base were removed now (λ = 0).

    The bases are taken out, not multiplied by 0: a pass costs what one of the small model costs.
    """
    kept = [
        (layer, layer.lam.clone(), {name: getattr(layer, name) for name in layer.base_parts})
        for layer in pclora_layers(student).values()
    ]
    try:
        for layer, _, _ in kept:
            layer.lam.zero_()
            layer.drop_base()
        yield
    finally:
        for layer, lam, held in kept:
            layer.lam.copy_(lam)
            for name, value in held.items():
                setattr(layer, name, value)


def base_shares(student: nn.Module, inputs: Inputs) -> dict[str, float]:
    """How much of each layer's output still comes from the base, measured on a batch.

    ``‖λ(Wx+b)‖ / (‖λ(Wx+b)‖ + ‖BAx+C‖)`` by layer name, over all tokens that are no padding and all
    calls of the layer; 0 where the base was dropped. With a residual start the base's part is what
    is left of it once the adapter's start is taken off.
    """
    # A wrapper's forward pass would wait for the other processes.
    student = innermost(student)
    layers = pclora_layers(student)
    held = {n: m for n, m in layers.items() if m.base is not None}
    norms: dict[str, list[Tensor]] = {}
    real = token_mask(inputs)

    def measure(name: str, x: Tensor, _: object) -> None:
        x, layer = real_tokens(x, real), held[name]
        parts = (layer.base_output(x).float().norm(), layer.adapter_output(x).float().norm())
        norms.setdefault(name, []).append(torch.stack(parts))

    if not held:
        return dict.fromkeys(layers, 0.0)
    with eval_mode(student), forward_hooks(held, measure):
        call_model(student, inputs)
    # One transfer from the device for all layers.
    values = torch.stack([_share(calls) for calls in norms.values()]).tolist()
    return dict.fromkeys(layers, 0.0) | dict(zip(norms, values, strict=True))


def _share(calls: Sequence[Tensor]) -> Tensor:
    """Of the base, from both parts' norms in every call of a layer."""
    base, adapter = calls[0] if len(calls) == 1 else torch.stack(tuple(calls)).norm(dim=0)
    return base / (base + adapter).clamp_min(1e-12)


def base_share(student: nn.Module, inputs: Inputs) -> float:
    """The mean of :func:`base_shares` over the layers."""
    shares = base_shares(student, inputs)
    return sum(shares.values()) / len(shares)
