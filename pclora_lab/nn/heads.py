"""The classifier of a model: which modules it is, and new weights for it."""

import torch
from torch import nn

from pclora_lab.nn.metadata import pretrained_cfg_of

__all__ = ["classifier_names", "draw_head", "is_head"]

# Of models that say nothing about themselves.
_COMMON_NAMES = frozenset({"head", "classifier", "pre_classifier", "score", "fc"})


def classifier_names(model: nn.Module) -> frozenset[str]:
    """Full names of the modules that turn features into classes.

    timm's models record theirs. A classifier of transformers keeps its base model in one child, and
    whatever else has weights beside it is the head (ModernBERT's ``head`` and ``classifier``,
    DeBERTa's ``pooler`` and ``classifier``, both heads of a distilled DeiT). Other models are taken
    by the common names.

    Example:
        >>> model = nn.Module()
        >>> model.body, model.fc = nn.Linear(4, 4), nn.Linear(4, 2)
        >>> sorted(name for name in classifier_names(model) if hasattr(model, name))
        ['fc']
    """
    recorded = pretrained_cfg_of(model).get("classifier") or ()
    own = frozenset({recorded} if isinstance(recorded, str) else recorded)
    base = getattr(model, "base_model_prefix", "")
    if base and hasattr(model, base) and "Classification" in type(model).__name__:
        children = (n for n, m in model.named_children() if next(m.parameters(), None) is not None)
        return own | frozenset(children) - {base}
    return own | _COMMON_NAMES


def is_head(name: str, model: nn.Module) -> bool:
    """Whether a module is (a part of) the classifier; see :func:`classifier_names`."""
    return name in classifier_names(model)


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
