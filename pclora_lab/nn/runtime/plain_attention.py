"""Attention by two plain products on a CPU in bfloat16, where the fused one is the slow way.

That was seen in training steps of DeiT-Tiny at 64 px, on a core with AVX-512 BF16; with many more
tokens, the plain products keep a matrix of tokens by tokens for the backward pass.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import torch

from pclora_lab.nn.runtime.shared_switch import SharedSwitch

__all__ = ["plain_attention"]


def _take_apart() -> Callable[[], None]:
    fused = torch.backends.cuda.flash_sdp_enabled()
    torch.backends.cuda.enable_flash_sdp(False)
    return partial(torch.backends.cuda.enable_flash_sdp, fused)


_switch = SharedSwitch(_take_apart)


def plain_attention() -> AbstractContextManager[None]:
    """No fused attention inside; torch has one switch for the process, which the last user resets.

    Example:
        >>> with plain_attention():
        ...     torch.backends.cuda.flash_sdp_enabled()
        False
    """
    return _switch.held()
