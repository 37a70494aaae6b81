"""Attention by two plain products on a CPU in bfloat16, where the fused one is the slow way.

The fused attention of torch takes a CPU's bfloat16 numbers apart again: DeiT-Tiny's training step
at 64 px takes 0.6 of float32's time with it and 0.4 without (one core of an AMD EPYC with
AVX-512 BF16; ``tests/benchmarks/step.py --precision bfloat16``).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["plain_attention"]

_lock = threading.Lock()
_users = 0
_was_fused = True


@contextmanager
def plain_attention() -> Iterator[None]:
    """No fused attention inside; torch has one switch for the process, which the last user resets.

    Example:
        >>> with plain_attention():
        ...     torch.backends.cuda.flash_sdp_enabled()
        False
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _users, _was_fused
    with _lock:
        if not _users:
            _was_fused = torch.backends.cuda.flash_sdp_enabled()
            torch.backends.cuda.enable_flash_sdp(False)
        _users += 1


def _leave() -> None:
    global _users
    with _lock:
        _users -= 1
        if not _users:
            torch.backends.cuda.enable_flash_sdp(_was_fused)
