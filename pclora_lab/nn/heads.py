"""The classifier of a model: which module it is, and new weights for it."""

import torch
from torch import nn

__all__ = ["is_head"]


@torch.no_grad()
def draw_head(head: nn.Module, generator: torch.Generator | None) -> None:
    """New weights for a classifier: matrices N(0, 0.02²) cut at two deviations, biases zero."""
    for name, parameter in head.named_parameters():
        if parameter.is_meta:
            return
        if parameter.ndim < 2:
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.ones_(parameter)
        else:
            nn.init.trunc_normal_(parameter, std=0.02, generator=generator)


# timm's, transformers' (pre_classifier is DistilBERT's), and the usual ones.
_HEADS = {"head", "classifier", "pre_classifier", "score", "fc"}


def is_head(name: str, model: nn.Module) -> bool:
    """Whether a module is the classifier, by timm's own record or by the usual names."""
    classifier = (getattr(model, "pretrained_cfg", None) or {}).get("classifier")
    heads = {classifier} if isinstance(classifier, str) else set(classifier or ())
    return name in heads or name in _HEADS
