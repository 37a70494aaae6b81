"""Copies of models that share what they are told to share."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["copied", "deepcopy_sharing", "meta_copy", "on_cpu", "results_in"]


def deepcopy_sharing(model: nn.Module, shared: Iterable[nn.Parameter]) -> nn.Module:
    """A deep copy that uses the very same parameter objects for those in ``shared``."""
    memo: dict[int, object] = {id(parameter): parameter for parameter in shared}
    computed = {id(v): v.detach().clone() for v in results_in(model)}
    return copied(model, computed | memo)


def on_cpu(model: nn.Module) -> nn.Module:
    """The model itself if it is on the CPU, else a copy there; the model stays where it is.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> on_cpu(layer) is layer
        True
    """
    tensors = (*model.parameters(), *model.buffers())
    return model if all(t.is_cpu for t in tensors) else deepcopy_sharing(model, ()).cpu()


def copied(model: nn.Module, memo: dict[int, object]) -> nn.Module:
    """``copy.deepcopy``.

    Raises:
        ValueError: an attribute that can't be copied, such as a lock; names it.
    """
    try:
        return copy.deepcopy(model, memo)
    except TypeError as error:
        raise ValueError(_not_copied(model, error)) from error


def _not_copied(model: nn.Module, error: TypeError) -> str:
    """Which attribute it was, as far as it can be found."""
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute.startswith("_") or isinstance(value, nn.Module | Tensor):
                continue
            try:
                copy.deepcopy(value, {id(m): m for m in model.modules()})
            except TypeError as cause:
                kind = type(module).__name__
                return (
                    f"{f'{name} ({kind})' if name else kind} can't be copied: its {attribute} is a "
                    f"{type(value).__name__} ({cause}). Take it out while the student is made, or "
                    "give it a __deepcopy__"
                )
    return f"{type(model).__name__} can't be copied: {error}"


def meta_copy(model: nn.Module) -> nn.Module:
    """The same architecture without storage; the model is only read, nothing is allocated."""
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=False
        )
    for tensor in (*model.buffers(), *results_in(model)):
        memo[id(tensor)] = torch.empty_like(tensor, device="meta")
    twin = copied(model, memo)
    config = getattr(twin, "config", None)
    if config is not None and getattr(config, "pad_token_id", None) is not None:
        # Or GPT-2 looks for padding in its input, which has no values here.
        config.pad_token_id = None
    return twin


def results_in(model: nn.Module) -> list[Tensor]:
    """Computed tensors that modules keep, which torch does not copy.

    Pruned and weight-normed layers keep a weight, LeViT's in eval mode a dictionary of biases.
    """
    values = [value for module in model.modules() for value in vars(module).values()]
    kept = [v for held in values if isinstance(held, dict) for v in held.values()]
    tensors = [v for v in (*values, *kept) if isinstance(v, Tensor)]
    return [tensor for tensor in tensors if not isinstance(tensor, nn.Parameter)]
