"""Which tokens of a text are hidden from a model that has to guess them."""

import torch
from torch import Tensor

__all__ = ["mask_tokens"]


def mask_tokens(
    ids: Tensor, special: Tensor, mask_id: int, vocabulary: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Choose 15% of the tokens; hide 80% of them, swap 10% for others, leave 10%.

    Args:
        ids: token numbers ``(batch, tokens)``.
        special: where a token must not be chosen, ``(batch, tokens)``.
        mask_id: number of the mask token.
        vocabulary: how many tokens there are.
        generator: draws.

    Returns:
        The changed ids and a mask of the chosen places, both ``(batch, tokens)``.

    Source: BERT, arXiv:1810.04805, section 3.1.

    Example:
        >>> ids, never = torch.arange(1000).view(10, 100), torch.zeros(10, 100, dtype=torch.bool)
        >>> changed, chosen = mask_tokens(ids, never, 0, 1000, torch.Generator().manual_seed(0))
        >>> round(chosen.float().mean().item(), 2), bool((changed == ids)[~chosen].all())
        (0.15, True)
    """
    draw = torch.rand(ids.shape, generator=generator, device="cpu")
    others = torch.randint(0, vocabulary, ids.shape, generator=generator, device="cpu")
    # Ten equal parts of the 15%: eight are hidden, one is swapped, one is left.
    part = (draw / 0.015).int()
    chosen = (part < 10) & ~special
    hidden = torch.where(chosen & (part < 8), mask_id, ids)
    return torch.where(chosen & (part == 8), others, hidden), chosen
