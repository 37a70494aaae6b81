"""The weight of a layer that has none: multiplied out only where somebody computes with it.

Some models ask a layer for ``weight.dtype`` in every forward pass (T5's gated feed-forward). A
product of the factors each time would cost more than the layer itself.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

__all__ = ["product_weight"]

# What is known without multiplying.
_KNOWN = {
    getattr(Tensor, name).__get__
    for name in ("dtype", "shape", "device", "layout", "ndim", "is_meta", "is_cuda", "is_cpu",
                 "requires_grad", "is_sparse", "is_leaf", "is_quantized", "itemsize", "nbytes")
} | {
    Tensor.size, Tensor.dim, Tensor.numel, Tensor.element_size, Tensor.is_floating_point,
    Tensor.is_complex, Tensor.get_device, Tensor.stride, torch.is_floating_point,
}  # fmt: skip

_READ_DATA = vars(torch._C.TensorBase)["data"].__get__


def product_weight(product: Callable[[], Tensor], shape: tuple[int, int], like: Tensor) -> Tensor:
    """A tensor to read whose values are made when they are needed.

    Args:
        product: makes the values; gradients go through it.
        shape: of the values.
        like: has their dtype and device.

    Raises:
        RuntimeError: later, where somebody writes into it: the values would be lost.

    Example:
        >>> weight = product_weight(lambda: torch.ones(2, 3), (2, 3), torch.zeros(1))
        >>> weight.shape, weight.dtype, weight.sum().item()
        (torch.Size([2, 3]), torch.float32, 6.0)
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return product()  # a compiler leaves out what is not used
    return _Product(product, shape, like)


class _Product(Tensor):
    """See :func:`product_weight`."""

    # transformers draws what was not read from a file; there is nothing here to draw.
    _is_hf_initialized = True

    def __new__(
        cls: type, product: Callable[[], Tensor], shape: tuple[int, int], like: Tensor
    ) -> "_Product":
        made: Any = Tensor._make_wrapper_subclass(
            cls, shape, dtype=like.dtype, device=like.device, requires_grad=like.requires_grad
        )
        made.product = product
        return made

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _KNOWN:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if any(isinstance(leaf, cls) for leaf in tree_leaves(_written(func, args, kwargs))):
            raise RuntimeError(
                "this weight is computed from factors, so what is written into it would be lost: "
                "write into the factors, or replace the layer by an nn.Linear"
            )
        args, kwargs = tree_map_only(cls, lambda weight: weight.product(), (args, kwargs))
        return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        # Torch asks for it where a tensor has no storage; what comes here has its values already.
        args, kwargs = tree_map_only(cls, lambda weight: weight.product(), (args, kwargs or {}))
        return func(*args, **kwargs)


def _written(func: Any, args: tuple, kwargs: dict) -> tuple:
    """What a function writes into: its first argument, however it was given, and ``out``."""
    # torch's own starts (torch.nn.init) give the tensor by name.
    first = (*args, *kwargs.values())[:1] if _writes(func) or kwargs.get("inplace") else ()
    # With max_norm, torch's embedding shortens the rows of its table that it looks up.
    table = args if kwargs.get("max_norm") is not None else ()
    return (first, table, kwargs.get("out"))


def _writes(func: Any) -> bool:
    name = getattr(func, "__name__", "").partition(".")[0]  # relu_.default is one of its overloads
    is_in_place = name.endswith("_") and not name.endswith("__")
    return is_in_place or name in ("__set__", "__setitem__") or func == _READ_DATA
