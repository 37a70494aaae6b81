"""Attention in windows, as transformers' Swin has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["window_attention_spelled_out"]


@contextmanager
def window_attention_spelled_out(model: nn.Module) -> Iterator[None]:
    """Inside, transformers' Swin multiplies and normalizes step by step, in place of one operator.

    Torch 2.14 can't write that operator into a graph of free batch size when the windows of all
    images are one batch: what it puts in its place returns another order in memory.

    Args:
        model: any; others are left as they are.

    Example:
        >>> with window_attention_spelled_out(nn.Linear(2, 2)):
        ...     pass
    """
    configs = {id(c): c for m in model.modules() if (c := _swin_config(m)) is not None}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = "eager"
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


def _swin_config(module: nn.Module) -> Any | None:
    config = getattr(module, "config", None)
    return config if getattr(config, "model_type", None) == "swin" else None
