"""Copies of models that share what they are told to share."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["deepcopy_sharing", "meta_copy"]


def deepcopy_sharing(model: nn.Module, shared: Iterable[nn.Parameter]) -> nn.Module:
    """A deep copy that uses the very same parameter objects for those in ``shared``."""
    memo: dict[int, object] = {id(parameter): parameter for parameter in shared}
    return copy.deepcopy(model, memo | _copies_of_computed(model))


def meta_copy(model: nn.Module) -> nn.Module:
    """The same architecture without storage; the model is only read, nothing is allocated."""
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=False
        )
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    for number, computed in _copies_of_computed(model, "meta").items():
        memo[number] = computed
    twin = copy.deepcopy(model, memo)
    config = getattr(twin, "config", None)
    if config is not None and getattr(config, "pad_token_id", None) is not None:
        # Or GPT-2 looks for padding in its input, which has no values here.
        config.pad_token_id = None
    return twin


def _copies_of_computed(model: nn.Module, device: str | None = None) -> dict[int, Tensor]:
    """Pruned and weight-normed layers keep a computed weight, which torch does not copy."""
    attributes = (value for module in model.modules() for value in vars(module).values())
    computed = [v for v in attributes if isinstance(v, Tensor) and not v.is_leaf]
    if device is not None:
        return {id(v): torch.empty_like(v, device=device) for v in computed}
    return {id(v): v.detach().clone() for v in computed}
