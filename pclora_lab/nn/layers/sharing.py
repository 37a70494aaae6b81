"""Layers that share their weights with a model: where they are moved, the whole model goes too."""

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["bring_together", "note_owner", "owner_follows"]

# The model whose weights a layer shares. Not an attribute: a copy of the layer shares nothing.
_OWNERS: "weakref.WeakKeyDictionary[nn.Module, weakref.ref[nn.Module]]" = (
    weakref.WeakKeyDictionary()
)


def note_owner(layers: Iterable[nn.Module], model: nn.Module) -> None:
    """Remember that the layers' frozen weights are the model's."""
    for layer in layers:
        _OWNERS[layer] = weakref.ref(model)


@contextmanager
def owner_follows(layer: nn.Module) -> Iterator[None]:
    """Around a layer's ``_apply``: torch moves shared weights, and would tear their model apart.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        >>> layer = nn.Module()
        >>> layer.base = model[0]
        >>> note_owner([layer], model)
        >>> with owner_follows(layer):
        ...     _ = layer.base.double()
        >>> model[1].weight.dtype
        torch.float64
    """
    before = _place(layer)
    yield
    after, owner = _place(layer), _OWNERS.get(layer)
    model = None if owner is None else owner()
    if model is None or before is None or after in (None, before) or is_spread(model):
        return
    (_, precision), (device, dtype) = before, after
    if device.type != "meta":
        model.to(device, None if dtype == precision else dtype)


def _place(layer: nn.Module) -> tuple[torch.device, torch.dtype] | None:
    weight = getattr(getattr(layer, "base", None), "weight", None)
    return None if weight is None else (weight.device, weight.dtype)


def is_spread(model: nn.Module) -> bool:
    """Whether accelerate has put its layers on several devices, where they must stay."""
    return getattr(model, "hf_device_map", None) is not None


def bring_together(student: nn.Module, teacher: nn.Module) -> None:
    """Move what is alone: a teacher to its student, or a student to the weights that it shares.

    Only whoever was moved without the other is; on one device nothing happens.

    Example:
        >>> bring_together(nn.Linear(2, 2), nn.Linear(2, 2))
    """
    here = next((p.device for p in student.parameters() if p.requires_grad), None)
    there = next((p.device for p in teacher.parameters()), None)
    if here == there or here is None or there is None or is_spread(student) or is_spread(teacher):
        return
    own = {id(p) for p in teacher.parameters()}
    is_torn = any(p.device == there for p in student.parameters() if id(p) in own)
    if is_torn:  # the teacher took the shared weights along
        student.to(there)
    else:
        teacher.to(here)
