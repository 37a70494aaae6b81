"""Which kinds of layers can be replaced: one entry each in :data:`LAYER_TYPES`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.nn.generators import generators_kept

__all__ = ["LAYER_TYPES", "LayerType", "is_untouched", "layer_type", "plain_linear"]


@dataclass(frozen=True)
class LayerType:
    """A kind of layer that multiplies by a matrix.

    Attributes:
        name: how messages call it.
        matches: whether a module is of this kind.
        as_linear: the same function as an ``nn.Linear``, on the very same weight where there is
            one; a ValueError says why it can't be, and what to do.
    """

    name: str
    matches: Callable[[nn.Module], bool]
    as_linear: Callable[[Any], nn.Linear]


def layer_type(module: nn.Module) -> LayerType | None:
    """What kind of linear layer a module is; None if it is none.

    Example:
        >>> layer_type(nn.Linear(2, 2)).name, layer_type(nn.Bilinear(2, 2, 2))
        ('nn.Linear', None)
    """
    return next((kind for kind in LAYER_TYPES if kind.matches(module)), None)


def plain_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """An ``nn.Linear`` on a weight ``(out_features, in_features)``; parameters stay the same ones.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> plain_linear(layer.weight, None).weight is layer.weight
        True
    """
    shell = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    shell.weight = _parameter(weight)
    shell.register_parameter("bias", None if bias is None else _parameter(bias))
    return shell


def is_untouched(layer: Any) -> bool:
    """Whether it is an ``nn.Linear`` as torch makes it, watched by no hook.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> handle = layer.register_forward_hook(print)
        >>> is_untouched(nn.Linear(2, 2)), is_untouched(layer)
        (True, False)
    """
    return type(layer) is nn.Linear and not (
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or "forward" in layer.__dict__
    )


def _parameter(value: Tensor) -> nn.Parameter:
    if isinstance(value, nn.Parameter):
        return value
    return nn.Parameter(value.detach().clone(), requires_grad=value.requires_grad)


def _is_conv1d(module: nn.Module) -> bool:
    # By name, because importing transformers takes longer than importing torch.
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def _of_conv1d(module: Any) -> nn.Linear:
    # GPT-2's linear layer, whose weight is (in, out): a view of the same storage.
    weight = module.weight
    view = nn.Parameter(weight.detach().T, requires_grad=weight.requires_grad)
    return plain_linear(view, module.bias)


def _of_plain(module: nn.Linear) -> nn.Linear:
    # Units may have been cut off, which leaves the widths that the layer notes as they were.
    if module.weight.shape == (module.out_features, module.in_features):
        return module
    return plain_linear(module.weight, module.bias)


def _is_plain(module: nn.Module) -> bool:
    return type(module) is nn.Linear and "weight" in module._parameters


def _is_attention_output(module: nn.Module) -> bool:
    # nn.MultiheadAttention reads its weight and never calls it.
    return type(module).__name__ == "NonDynamicallyQuantizableLinear"


# Where layers of packed integers come from.
_QUANTIZERS = ("torch.ao.nn.", "torchao.", "bitsandbytes.", "optimum.quanto.", "hqq.", "awq.",
               "gptqmodel.", "auto_gptq.")  # fmt: skip


def _is_quantized(module: nn.Module) -> bool:
    if not (hasattr(module, "in_features") and hasattr(module, "out_features")):
        return False
    if f"{type(module).__module__}.".startswith(_QUANTIZERS):
        return True
    weight = module._parameters.get("weight")
    if weight is None or not isinstance(module, nn.Linear):
        return False
    is_packed = not isinstance(weight, nn.UninitializedParameter) and not weight.is_floating_point()
    return is_packed or f"{type(weight).__module__}.".startswith(_QUANTIZERS)


def _refuse_quantized(module: Any) -> nn.Linear:
    own = module if type(module) is not nn.Linear else module.weight
    raise ValueError(
        f"it is quantized ({type(own).__module__}.{type(own).__name__}), so there is no "
        "weight to factorize or to fade. Load the model without quantization, compress it, and "
        "quantize the result: a low-rank layer is two nn.Linear"
    )


def _is_computed(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and "weight" not in module._parameters


@torch.no_grad()
def _of_computed(module: Any) -> nn.Linear:
    """Pruned, normed or parametrized: the weight that it computes with now."""
    modes = [(part, part.training) for part in module.modules()]
    held = {name: vars(module).get(name) for name in ("weight", "bias")}
    try:
        module.eval()  # or spectral norm would take another step
        for hook in module._forward_pre_hooks.values():
            if hasattr(hook, "apply") or hasattr(hook, "compute_weight"):
                hook(module, None)  # torch's own, which compute the weight anew
        return plain_linear(module.weight, module.bias)
    finally:
        vars(module).update({name: value for name, value in held.items() if value is not None})
        for part, training in modes:
            part.training = training


def _is_subclass(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and not _is_attention_output(module)


def _of_subclass(module: Any) -> nn.Linear:
    if isinstance(module.weight, nn.UninitializedParameter):
        raise ValueError(
            "it is lazy and has no weight yet: run the model once on an example before"
        )
    is_own = type(module).forward is not nn.Linear.forward or "forward" in vars(module)
    if not is_own or module.weight.is_meta:
        return plain_linear(module.weight, module.bias)
    with generators_kept(), torch.no_grad():
        return _of_function(module)


def _of_function(module: Any) -> nn.Linear:
    """What a forward of its own computes, if that is a matrix and a bias."""
    weight, training = module.weight, module.training
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, weight.shape[1], generator=generator, device="cpu").to(weight)
    try:
        module.training = False
        y = module.forward(x)
        if _equal(y, F.linear(x, weight, module.bias)):
            return plain_linear(weight, module.bias)
        bias = module.forward(torch.zeros_like(x[:1]))[0]
        matrix = module.forward(torch.eye(weight.shape[1], device=weight.device).to(weight)) - bias
        if not _equal(y, F.linear(x, matrix.T, bias)):
            raise ValueError(
                f"{type(module).__name__}, a subclass of nn.Linear, computes something else than "
                "W x + b, so no low-rank layer can stand for it"
            )
    finally:
        module.training = training
    return plain_linear(matrix.T.contiguous(), bias)


def _equal(value: Tensor, wanted: Tensor) -> bool:
    rounding = {torch.float64: 1e-8, torch.float32: 1e-4}.get(wanted.dtype, 0.05)
    if value.shape != wanted.shape:
        return False
    return bool((value - wanted).abs().max() <= rounding * wanted.abs().max().clamp_min(1.0))


# The first that matches counts. Everything that is done with a linear layer follows from its entry.
LAYER_TYPES: tuple[LayerType, ...] = (
    LayerType("quantized layer", _is_quantized, _refuse_quantized),
    LayerType("nn.Linear", _is_plain, _of_plain),
    LayerType("Conv1D", _is_conv1d, _of_conv1d),
    LayerType("linear layer of a computed weight", _is_computed, _of_computed),
    LayerType("subclass of nn.Linear", _is_subclass, _of_subclass),
)
