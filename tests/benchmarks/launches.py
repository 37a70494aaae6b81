"""How many kernels a step launches: what a GPU's driver is asked for, counted on any device.

    >>> import torch
    >>> x = torch.ones(2, 3)
    >>> launches(lambda: (x.T + 1).relu_())
    2

Counted is every operator that writes a tensor; views, allocations and values read by the host are
not. A ``torch._foreach_*`` operator counts as one, though a device may need a few for many tensors.
On the ``meta`` device a step takes the paths of a GPU, and costs nothing.
"""

import collections
from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["launched", "launches"]

_ALLOCATIONS = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view",
}  # fmt: skip


def launches(step: Callable[[], Any]) -> int:
    """How many kernels the step launches, backward passes included."""
    return launched(step).total()


def launched(step: Callable[[], Any]) -> collections.Counter[str]:
    """How often the step launches which operator."""
    with _Count() as mode:
        step()
    return mode.names


class _Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None):
        if _launches(func):
            self.names[func._schema.name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


def _launches(func: Any) -> bool:
    schema = func._schema
    if schema.name.removeprefix("aten::") in _ALLOCATIONS:
        return False
    writes = [a for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    fresh = [r for r in schema.returns if r.alias_info is None and "Tensor" in str(r.type)]
    return bool(writes or fresh)
