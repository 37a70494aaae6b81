"""Whether all numbers in a model are numbers: neither NaN nor infinite."""

from collections.abc import Iterable, Mapping
from itertools import compress

import torch
from torch import Tensor, nn

from pclora_lab.nn.forward import Inputs
from pclora_lab.nn.layers.comparing import outputs_by_module
from pclora_lab.nn.layers.copying import deepcopy_sharing

__all__ = ["NotFinite", "check_weights_finite", "first_not_finite", "where_not_finite"]


class NotFinite(ValueError):
    """Weights or outputs are NaN or infinite; the message says which."""


def first_not_finite(named: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor with a value that is NaN or infinite; None if there is none.

    A GPU is waited for once. Tensors without values (meta device) and whole numbers pass.

    Example:
        >>> first_not_finite({"a": torch.ones(2), "b": torch.tensor([0.0, float("inf")])})
        'b'
    """
    pairs = named.items() if isinstance(named, Mapping) else named
    tensors = {name: t.detach() for name, t in pairs if t.is_floating_point() and not t.is_meta}
    # A sum is finite only if all of it is; the other way round it may have overflown.
    suspects = _not_finite({name: _wide(tensor).sum() for name, tensor in tensors.items()})
    return next((n for n in suspects if not bool(_wide(tensors[n]).isfinite().all())), None)


def _wide(tensor: Tensor) -> Tensor:
    """Torch neither adds numbers of one byte nor looks whether they are finite."""
    return tensor.float() if tensor.element_size() == 1 else tensor


def _not_finite(sums: Mapping[str, Tensor]) -> list[str]:
    if not sums:
        return []
    device = next(iter(sums.values())).device
    flags = torch.stack([total.isfinite().to(device) for total in sums.values()])
    return list(compress(sums, (~flags).tolist()))


def check_weights_finite(model: nn.Module, cure: str) -> None:
    """Refuse a model with a weight that is NaN or infinite, or with a NaN in a buffer.

    Args:
        model: any; what has no values yet (meta device) passes.
        cure: what to do, for the end of the message.

    Raises:
        NotFinite: names the weight.
    """
    name = first_not_finite(model.named_parameters())
    if name is None:
        # A mask may hold infinite values on purpose.
        noted = {
            id(getattr(module, own))
            for module in model.modules()
            for own in getattr(module, "bookkeeping", ())  # NaN until there is something to note
        }
        named = ((n, b) for n, b in model.named_buffers() if id(b) not in noted)
        buffers = {n: b for n, b in named if b.is_floating_point()}
        name = first_not_finite(buffers) and _first_nan(buffers)
    if name is not None:
        raise NotFinite(
            f"{name} of {type(model).__name__} holds values that are NaN or infinite: {cure}"
        )


def _first_nan(buffers: Mapping[str, Tensor]) -> str | None:
    there = ((n, b) for n, b in buffers.items() if not b.is_meta)
    return next((name for name, buffer in there if bool(_wide(buffer).isnan().any())), None)


def where_not_finite(model: nn.Module, inputs: Inputs) -> str:
    """Why a model's outputs are not finite: its inputs, a weight, or the layer where it begins.

    Args:
        model: whose outputs are NaN or infinite.
        inputs: of the batch.
    """
    named = inputs if isinstance(inputs, Mapping) else {"the images": inputs}
    if (bad := first_not_finite(named)) is not None:
        return f"the batch itself is not: {bad} holds values that are NaN or infinite"
    if (bad := first_not_finite(model.named_parameters())) is not None:
        return f"{bad} holds values that are NaN or infinite"
    layer = _first_layer(model, inputs)
    return "the model overflows" if layer is None else f"it begins at {layer}, which overflows"


def _first_layer(model: nn.Module, inputs: Inputs) -> str | None:
    """The first module in the order of the forward pass with an output that is not finite."""
    copy = deepcopy_sharing(model, model.parameters()).eval()
    found = outputs_by_module(copy, inputs)
    return next((name for name, out in found.items() if not bool(out.isfinite().all())), None)
