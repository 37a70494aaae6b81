"""The layers of a model as a grid: its blocks, and the kinds of layers that are in them."""

import re
from collections.abc import Iterable

__all__ = ["block_grid"]

# The last number that something follows: blocks of blocks are told apart, a layer's own is not one.
_BLOCK = re.compile(r"(.*\d)\.(.+)")


def block_grid(names: Iterable[str]) -> list[tuple[int, int]]:
    """Column (block) and row (kind) of every layer, both from 0, in the order they come in.

    Layers outside of numbered blocks stand in a column of their own.

    Args:
        names: of the layers, as in ``named_modules``.

    Example:
        >>> block_grid(["blocks.0.qkv", "blocks.0.fc", "blocks.1.qkv", "blocks.1.fc"])
        [(0, 0), (0, 1), (1, 0), (1, 1)]
        >>> block_grid(["words", "layer.0.attention.query", "0", "2"])
        [(0, 0), (1, 0), (2, 0), (3, 0)]
    """
    split = [(name, _BLOCK.fullmatch(name)) for name in names]
    pairs = [(found[1], found[2]) if found else (name, "") for name, found in split]
    blocks = list(dict.fromkeys(block for block, _ in pairs))
    kinds = list(dict.fromkeys(kind for _, kind in pairs if kind)) or [""]
    return [(blocks.index(block), kinds.index(kind) if kind else 0) for block, kind in pairs]
