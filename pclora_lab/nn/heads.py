"""The classifier of a model: which modules it is, and new weights for it."""

import torch
from torch import nn

from pclora_lab.nn.metadata import pretrained_cfg_of
from pclora_lab.nn.surgery import as_linear

__all__ = ["classifier_names", "draw_head", "is_head", "with_outputs"]

# Of models that say nothing about themselves.
_COMMON_NAMES = frozenset({"head", "classifier", "pre_classifier", "score", "fc"})


def classifier_names(model: nn.Module) -> frozenset[str]:
    """Full names of the modules that turn features into classes.

    timm's models record theirs. A classifier of transformers keeps its base model in one child, and
    whatever else has weights beside it is the head (ModernBERT's ``head`` and ``classifier``,
    DeBERTa's ``pooler`` and ``classifier``, both heads of a distilled DeiT, SegFormer's decoder).
    Other models are taken by the common names.

    Example:
        >>> model = nn.Module()
        >>> model.body, model.fc = nn.Linear(4, 4), nn.Linear(4, 2)
        >>> sorted(name for name in classifier_names(model) if hasattr(model, name))
        ['fc']
    """
    recorded = pretrained_cfg_of(model).get("classifier") or ()
    own = frozenset({recorded} if isinstance(recorded, str) else recorded)
    kind = type(model).__name__
    base = getattr(model, "base_model_prefix", "") or "backbone"
    has_head = "Classification" in kind or "SemanticSegmentation" in kind
    if has_head and hasattr(model, base):
        children = (n for n, m in model.named_children() if next(m.parameters(), None) is not None)
        return own | frozenset(children) - {base}
    return own | _COMMON_NAMES


def is_head(name: str, model: nn.Module) -> bool:
    """Whether a module is (a part of) the classifier; see :func:`classifier_names`."""
    return name in classifier_names(model)


def with_outputs(layer: nn.Module, outputs: int) -> nn.Linear | nn.Conv2d:
    """A new last layer like another one, with another number of outputs.

    Args:
        layer: linear, or a convolution that looks at one pixel.
        outputs: of the new one.

    Example:
        >>> with_outputs(nn.Conv2d(4, 2, 1), 3)
        Conv2d(4, 3, kernel_size=(1, 1), stride=(1, 1))
    """
    if isinstance(layer, nn.Conv2d):
        bias, device = layer.bias is not None, layer.weight.device
        return nn.Conv2d(layer.in_channels, outputs, 1, bias=bias, device=device)
    old = as_linear(layer)
    assert isinstance(old, nn.Linear), "a table of words is no head"
    bias, device = old.bias is not None, old.weight.device
    return nn.Linear(old.in_features, outputs, bias=bias, device=device)


@torch.no_grad()
def draw_head(head: nn.Module, generator: torch.Generator | None) -> None:
    """New weights for a classifier: matrices N(0, 0.02²) cut at two deviations, biases zero."""
    for name, parameter in head.named_parameters():
        if parameter.is_meta:
            return
        if parameter.ndim < 2:
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.ones_(parameter)
        else:
            # On the CPU, so that one seed means the same head on every device.
            drawn = torch.empty_like(parameter, device="cpu")
            parameter.copy_(nn.init.trunc_normal_(drawn, std=0.02, generator=generator))
