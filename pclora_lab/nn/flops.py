"""Floating-point operations with the element-wise work in them, as published tables count.

MACs (:mod:`pclora_lab.nn.counting`) are products only. Papers often add what happens between the
products: a small part of a dense model, and a larger one of a compressed one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pclora_lab.nn.counting import count_macs
from pclora_lab.nn.forward import Inputs, call_model, eval_mode
from pclora_lab.nn.layers.tracing import trace
from pclora_lab.nn.layers.wrappers import unwrapped

__all__ = ["Flops", "count_flops"]

# Operations per element of the result, counted on the definitions: exponential, sum, divide; and
# mean, difference, square, variance, divide, scale, shift. Everything else counts once.
_SOFTMAX, _NORM = 3, 7


_ONCE = {"add", "add_", "sub", "mul", "mul_", "div", "gelu", "relu", "silu", "tanh", "sigmoid"}


@dataclass(frozen=True)
class Flops:
    """Operations of one forward pass for one example.

    Attributes:
        products: two per multiply-accumulate of linear layers, convolutions and attention.
        elementwise: biases, residuals, activations, norms, softmax.
    """

    products: int
    elementwise: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.products + self.elementwise


class _Elementwise(TorchDispatchMode):
    """Adds up the operations that are no matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        self.total += _operations(function.overloadpacket.__name__, args, result)
        return result


def _operations(name: str, args: tuple, result: Any) -> int:
    out = result[0] if isinstance(result, (tuple, list)) else result
    if not isinstance(out, Tensor) or not out.is_floating_point():
        return 0
    if name.startswith("_scaled_dot_product"):
        query, key = args[0], args[1]
        scores = query.shape[:-1].numel() * key.shape[-2]
        # Torch 2.15 takes attention apart on the meta device and never comes here; a version that
        # keeps it whole would. One more for the division by √d.
        return (_SOFTMAX + 1) * scores
    if name in ("_softmax", "_safe_softmax"):
        return _SOFTMAX * out.numel()
    if name in ("native_layer_norm", "_fused_rms_norm"):
        return _NORM * out.numel()
    if name == "addmm" or (name == "convolution" and args[2] is not None):
        return out.numel()
    return out.numel() if name in _ONCE else 0


def count_flops(model: nn.Module, example: Tensor | Mapping[str, Tensor] | None = None) -> Flops:
    """Count on the meta device, without arithmetic.

    A bias, a residual, an activation and a scaling are one operation per element, a softmax three,
    a norm seven.

    Args:
        model: any model, also a compressed one; it is only read.
        example: one input; timm and transformers models know theirs.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
        >>> count_flops(net, torch.zeros(1, 8))
        Flops(products=64, elementwise=8)
    """
    model = unwrapped(model)

    def count(twin: nn.Module, inputs: Inputs) -> int:
        with eval_mode(twin), _Elementwise() as counter:
            call_model(twin, inputs)
        return counter.total

    return Flops(2 * count_macs(model, example), trace(model, example, count))
