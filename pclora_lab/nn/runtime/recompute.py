"""Blocks that compute their activations a second time instead of keeping them."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from pclora_lab.nn.runtime.plain_attention import plain_attention

__all__ = ["recomputed"]


@contextmanager
def recomputed(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, a block keeps its inputs for the backward pass, and nothing of what it computes.

    The backward pass runs the block again: a forward pass more per step, for activations of one
    block at a time (Chen et al., arXiv:1604.06174). Loss and gradients are the same, dropout
    included. A block with batch normalization is left alone, as a second pass would count its
    batch twice.

    Args:
        blocks: the transformer blocks of a model; see
            :func:`pclora_lab.nn.surgery.transformer_blocks`.

    Example:
        >>> block, x = nn.Sequential(nn.Linear(2, 2), nn.Tanh()), torch.ones(1, 2)
        >>> with recomputed([block]):
        ...     y = block(x).sum()
        >>> y.backward()
        >>> block[0].weight.grad is not None, "forward" in vars(block)
        (True, False)
    """
    with ExitStack() as stack:
        for block in blocks:
            if not any(isinstance(m, _BatchNorm) for m in block.modules()):
                stack.enter_context(_recomputed(block))
        yield


@contextmanager
def _recomputed(block: nn.Module) -> Iterator[None]:
    # Some packages put a forward of their own into the instance.
    own = vars(block).get("forward")
    again = partial(checkpoint, block.forward, use_reentrant=False, context_fn=_contexts)
    vars(block)["forward"] = again
    try:
        yield
    finally:
        del vars(block)["forward"]
        if own is not None:
            vars(block)["forward"] = own


def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the first pass, and of the second: in a backward pass, nobody holds the switch."""
    is_fused = torch.backends.cuda.flash_sdp_enabled()
    return nullcontext(), nullcontext() if is_fused else plain_attention()
