"""Keeps what a step frees for the next one, instead of giving it back to the operating system.

glibc returns the end of the main thread's heap as soon as it is free, and the next step asks for it
again: every page is then filled with zeros anew. On a CPU that takes as long as a tenth of a
training step to two thirds of an operation that only adds (``tests/benchmarks/step.py
--give-back``). Other allocators and systems have no such setting, and nothing is done there.
"""

import ctypes
import functools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["freed_memory_kept"]

# Of malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
_TRIM, _MMAP = -1, -3
# As far as glibc itself moves the second one, by what it has seen; the first follows at twice that.
_MMAP_BYTES, _TRIM_BYTES = 32 << 20, 64 << 20
_NEVER = -1

# Whoever holds it may be interrupted by the garbage collector, which may close a run.
_lock = threading.RLock()
_users = 0


@functools.cache
def _glibc() -> Any:
    """The C library of this process if it has the settings; else None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """What is freed inside stays with this process until the last one who asked has left.

    Blocks of 32 MiB and more are the system's own at any time.

    Example:
        >>> with freed_memory_kept():
        ...     _ = [0] * 1000
    """
    _change(1)
    try:
        yield
    finally:
        _change(-1)


def _change(by: int) -> None:
    global _users
    with _lock:
        before, _users = _users, _users + by
        library = _glibc()
        if library is None or (before > 0) == (_users > 0):
            return
        if _users:
            library.mallopt(_MMAP, _MMAP_BYTES)
            library.mallopt(_TRIM, _NEVER)
        else:
            library.mallopt(_TRIM, _TRIM_BYTES)
            library.malloc_trim(0)
