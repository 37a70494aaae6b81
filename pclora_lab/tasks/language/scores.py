"""How well the tokens of texts are guessed: perplexity, bits per byte, the share that is right."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pclora_lab.tasks.metrics import TaskMetric

__all__ = ["BITS_PER_BYTE", "NEXT_TOKEN", "PERPLEXITY", "GuessedTokens"]

PERPLEXITY = TaskMetric("perplexity", "perplexity", better="lower", low=1)
BITS_PER_BYTE = TaskMetric("bits_per_byte", "bits per byte", digits=3, better="lower", low=0)
NEXT_TOKEN = TaskMetric("next_token_accuracy", "next token right", "%", scale=100, low=0, high=1)

# The exponential of more is infinite, which no JSON file can hold.
_LARGEST_LOSS = 700.0


class GuessedTokens:
    """Adds up over batches how well each token was guessed.

    ``perplexity = exp(−mean log p(token))`` over all tokens that are guessed, those that end a text
    included; ``bits per byte = −Σ log₂ p(token) / Σ bytes`` over the tokens that stand for text.
    The second can be compared between models whose tokenizers cut texts differently, if both keep
    every character.

    Example:
        >>> seen = GuessedTokens()
        >>> seen.add(torch.zeros(2, 4), torch.tensor([3, 0]), torch.tensor([2, -1]))
        >>> found = seen.compute()
        >>> {name: round(value, 4) for name, value in found.items()}
        {'perplexity': 4.0, 'bits_per_byte': 1.0, 'next_token_accuracy': 0.5}
    """

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def add(self, logits: Tensor, tokens: Tensor, sizes: Tensor) -> None:
        """Take in guesses.

        Args:
            logits: of each place ``(places, vocabulary)``.
            tokens: that are right ``(places,)``; −100 does not count.
            sizes: bytes that each token stands for, negative for none ``(places,)``.
        """
        counts = tokens.ne(-100)
        # Weighted, because picking out what counts would wait for the GPU.
        known = tokens.where(counts, 0)
        nats = F.cross_entropy(logits.float(), known, reduction="none") * counts
        is_text = counts & sizes.ge(0)
        is_right = counts & logits.argmax(-1).eq(known)
        parts = (nats, counts, nats * is_text, sizes * is_text, is_right)
        self._sums.append(torch.stack([part.sum(dtype=torch.float32) for part in parts]))

    def compute(self) -> dict[str, float]:
        """The three metrics; NaN where no token counted."""
        sums = torch.stack(self._sums).cpu().double().sum(0)
        nats, count, of_text, size, right = sums.tolist()
        if not count:
            return dict.fromkeys((PERPLEXITY.key, BITS_PER_BYTE.key, NEXT_TOKEN.key), math.nan)
        return {
            PERPLEXITY.key: math.exp(min(nats / count, _LARGEST_LOSS)),
            BITS_PER_BYTE.key: of_text / math.log(2) / size if size else math.nan,
            NEXT_TOKEN.key: right / count,
        }
