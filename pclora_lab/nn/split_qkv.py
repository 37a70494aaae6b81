"""Fused query-key-value layers taken apart, so that each of the three can be faded by itself."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pclora_lab.nn.forward import Inputs
from pclora_lab.nn.layers.tracing import trace
from pclora_lab.nn.metadata import recipe_of, set_metadata
from pclora_lab.nn.surgery import count_inputs, get_linear, is_linear, replace_modules

__all__ = ["SplitLinear", "split_qkv"]

_FUSED = ("qkv", "c_attn")


class SplitLinear(nn.Module):
    """Linear layers side by side: ``y = (q(x), k(x), v(x))`` along the features.

    Args:
        weight: of the fused layer, ``(3 · out_features, in_features)``.
        bias: ``(3 · out_features,)`` or None.

    Example:
        >>> fused = nn.Linear(4, 12)
        >>> split = SplitLinear(fused.weight, fused.bias)
        >>> x = torch.randn(2, 4)
        >>> torch.allclose(split(x), fused(x)), [name for name, _ in split.named_children()]
        (True, ['q', 'k', 'v'])
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.q, self.k, self.v = (_third(weight, bias, number) for number in range(3))

    def forward(self, input: Tensor) -> Tensor:
        """``(batch, tokens, in_features)`` → ``(batch, tokens, 3 · out_features)``."""
        return torch.cat((self.q(input), self.k(input), self.v(input)), dim=-1)


def _third(weight: Tensor, bias: Tensor | None, number: int) -> nn.Linear:
    rows = weight.shape[0] // 3
    part = slice(number * rows, (number + 1) * rows)
    layer = nn.Linear(weight.shape[1], rows, bias=bias is not None, device="meta")
    # Copies, because three views of one storage can't be saved apart.
    layer.weight = nn.Parameter(weight.detach()[part].clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach()[part].clone())
    return layer


def _count(twin: nn.Module, names: Iterable[str], inputs: Inputs) -> dict[str, int]:
    return count_inputs(twin, {name: twin.get_submodule(name) for name in names}, inputs)


def split_qkv(model: nn.Module) -> nn.Module:
    """Replace every fused query-key-value layer by three, in place; the logits stay the same.

    Three layers of rank r together have the parameters ``3·r·in + 3·r·out``; fused, A is shared:
    ``r·in + 3·r·out``. The published counts of PC-LoRA (arXiv:2406.09117) mix both.

    Args:
        model: loaded by name (timm's ``attn.qkv``, GPT-2's ``attn.c_attn``).

    Raises:
        ValueError: no fused layer, or one that the model reads past its module.

    Example:
        >>> from pclora_lab import load_model
        >>> model = split_qkv(load_model("vit_digits", pretrained=False))
        >>> [name for name, _ in model.blocks[0].attn.qkv.named_children()]
        ['q', 'k', 'v']
    """
    fused = {
        name: get_linear(model, name)
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in _FUSED and is_linear(module)
    }
    fused = {name: m for name, m in fused.items() if m.weight.shape[0] % 3 == 0}
    if not fused:
        raise ValueError(
            f"{type(model).__name__} has no fused query-key-value layer: leave split_qkv out"
        )
    trace(model, None, lambda twin, inputs: _count(twin, fused, inputs))
    replace_modules(model, {name: SplitLinear(m.weight, m.bias) for name, m in fused.items()})
    if hasattr(model, "pclora_recipe"):
        set_metadata(model, pclora_recipe={**recipe_of(model), "split_qkv": True})
    return model
