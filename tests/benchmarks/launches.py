"""How many kernels a step launches: what a GPU's driver is asked for, counted on any device.

    >>> import torch
    >>> x = torch.ones(2, 3)
    >>> launches(lambda: (x.T + 1).relu_())
    2

Counted is every operator that writes a tensor; views, allocations and values read by the host are
not. A ``torch._foreach_*`` operator counts as one, though a device may need a few for many tensors.
On the ``meta`` device a step takes the paths of a GPU, and costs nothing.

Of a compiled step the calls in the code that torch.compile writes are counted: of the kernels that
it generates, and of torch's own operators between them.
"""

import collections
import re
from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["compiled_launches", "launched", "launches"]

_ALLOCATIONS = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view",
}  # fmt: skip
_CALLS = re.compile(
    r"(?<![\w.])(?:cpp_\w+|triton_\w+\.run|extern_kernels\.\w+|aten\.[\w.]+|torch\.ops\.[\w.]+)\("
)


def launches(step: Callable[[], Any]) -> int:
    """How many kernels the step launches, backward passes included."""
    return launched(step).total()


def launched(step: Callable[[], Any]) -> collections.Counter[str]:
    """How often the step launches which operator."""
    with _Count() as mode:
        step()
    return mode.names


def compiled_launches(first_call: Callable[[], Any]) -> int:
    """How many kernels the graphs launch that are compiled while this runs.

    What runs beside them, such as an optimizer, is left out: count it with :func:`launches`.
    """
    from torch._inductor.utils import run_and_get_code

    _, codes = run_and_get_code(first_call)
    return sum(map(calls, codes))


def calls(code: str) -> int:
    """How many kernels a generated module launches when it is called.

    >>> text = '''
    ... cpp_fused_0 = async_compile.cpp_pybinding(['float*'])
    ... def call(self, args):
    ...     buf0 = empty_strided_cpu((2, 2), (2, 1), torch.float32)
    ...     cpp_fused_0(arg0_1, buf0)
    ...     extern_kernels.mm(buf0, arg1_1, out=buf1)
    ...     buf2 = torch.ops.aten.sort.default(buf1)
    ...     return (buf2[0], )
    ... runner = Runner(partitions=[])
    ... cpp_fused_0(none_of, the_above)
    ... '''
    >>> calls(text)
    3
    """
    begins = code.index("def call(")
    return len(_CALLS.findall(code[begins : code.index("\nrunner", begins)]))


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
