"""Documents as pieces of at most a block's length, with the bytes that every token stands for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pclora_lab.data.texts import TextPreprocessing

__all__ = ["NO_TEXT", "Pieces", "cut_into_pieces"]

NO_TEXT = -1
"""Bytes of a token that stands for no text, as one for the end of a document does."""

# What a tokenizer returns is a hundred times as large as the numbers that are kept of it.
_CHUNK = 2000


@dataclass(frozen=True)
class Pieces:
    """Documents, cut.

    Attributes:
        ids: numbers of every piece's tokens.
        sizes: UTF-8 bytes of the text that each of them stands for, :data:`NO_TEXT` for none.
        documents: which document a piece is of.
        too_short: documents without a token that could be guessed.
        is_ended: whether a token marks the end of every document.
    """

    ids: list[Tensor]
    sizes: list[Tensor]
    documents: list[int]
    too_short: int
    is_ended: bool


def cut_into_pieces(texts: Sequence[str], preprocessing: TextPreprocessing) -> Pieces:
    """Tokenize documents, end each with the tokenizer's token for it, and cut what is too long.

    No piece holds tokens of two documents, so that nothing can be attended to, or guessed, across
    their border. The pieces of one document overlap by one token: it is the last that is guessed in
    one piece and what the next begins with, so that every token but a document's first is guessed
    exactly once.

    Args:
        texts: the documents.
        preprocessing: the model's; its ``max_tokens`` is the length of a block.

    Raises:
        ValueError: blocks of one token, or a tokenizer that does not say which characters its
            tokens stand for.
    """
    longest, end = preprocessing.max_tokens, preprocessing.tokenizer.eos_token_id
    if longest < 2:
        raise ValueError(
            f"max_tokens is {longest}, but the first token of a block is not guessed: use 2 or more"
        )
    ids: list[Tensor] = []
    sizes: list[Tensor] = []
    documents: list[int] = []
    too_short = 0
    for document, (numbers, counts) in enumerate(_tokens(texts, preprocessing)):
        if end is not None and numbers[-1:] != [end]:
            numbers, counts = [*numbers, end], [*counts, NO_TEXT]
        if len(numbers) < 2 or max(counts[1:]) == NO_TEXT:
            too_short += 1
            continue
        for start in range(0, len(numbers) - 1, longest - 1):
            ids.append(torch.tensor(numbers[start : start + longest], device="cpu"))
            sizes.append(torch.tensor(counts[start : start + longest], device="cpu"))
            documents.append(document)
    return Pieces(ids, sizes, documents, too_short, end is not None)


def _tokens(
    texts: Sequence[str], preprocessing: TextPreprocessing
) -> Iterator[tuple[list[int], list[int]]]:
    """Token numbers of each text, and the bytes that each token stands for."""
    tokenizer: Any = preprocessing.tokenizer
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} does not say which characters a token stands for, so that "
            "bits per byte can't be counted: save the tokenizer as tokenizer.json and load that"
        )
    for start in range(0, len(texts), _CHUNK):
        part = list(texts[start : start + _CHUNK])
        encoded = tokenizer(
            part,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            verbose=False,
        )
        columns = (encoded[key] for key in ("input_ids", "offset_mapping", "special_tokens_mask"))
        for text, numbers, offsets, special in zip(part, *columns, strict=True):
            yield list(numbers), _bytes_of(text, offsets, special)


def _bytes_of(text: str, offsets: Sequence[tuple[int, int]], special: Sequence[int]) -> list[int]:
    """Bytes from where the text before a token ends to where the token does.

    What stands between two tokens, as spaces may, counts with the second; a character that takes
    several tokens counts with the first of them.

    Example:
        >>> _bytes_of("ein Öl", [(0, 0), (0, 3), (4, 5), (4, 5), (5, 6)], [1, 0, 0, 0, 0])
        [-1, 3, 3, 0, 1]
    """
    counts, reached = [], 0
    for (_, end), is_special in zip(offsets, special, strict=True):
        if is_special:
            counts.append(NO_TEXT)
            continue
        counts.append(len(text[reached:end].encode("utf8", "surrogatepass")))
        reached = max(reached, end)
    return counts
