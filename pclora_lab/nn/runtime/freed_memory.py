"""Keeps what a step frees for the next one, instead of giving it back to the operating system.

glibc returns the end of the main thread's heap as soon as it is free, and the next step asks for it
again: every page is then filled with zeros anew, which a training step on a CPU feels
(``tests/benchmarks/step.py`` with ``--give-back`` and without). Other allocators and systems have
no such setting, and nothing is done there.
"""

import ctypes
import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from pclora_lab.nn.runtime.shared_switch import SharedSwitch

__all__ = ["freed_memory_kept"]

# Of malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
_TRIM, _MMAP = -1, -3
# As far as glibc itself moves the second one, by what it has seen; the first follows at twice that.
_MMAP_BYTES, _TRIM_BYTES = 32 << 20, 64 << 20
_NEVER = -1


@functools.cache
def _glibc() -> Any:
    """The C library of this process if it has the settings; else None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def _keep() -> Callable[[], None]:
    if (library := _glibc()) is not None:
        library.mallopt(_MMAP, _MMAP_BYTES)
        library.mallopt(_TRIM, _NEVER)
    return _give_back


def _give_back() -> None:
    if (library := _glibc()) is not None:
        library.mallopt(_TRIM, _TRIM_BYTES)
        library.malloc_trim(0)


_switch = SharedSwitch(_keep)


def freed_memory_kept() -> AbstractContextManager[None]:
    """What is freed inside stays with this process until the last one who asked has left.

    Blocks of 32 MiB and more are the system's own at any time.

    Example:
        >>> with freed_memory_kept():
        ...     _ = [0] * 1000
    """
    return _switch.held()
