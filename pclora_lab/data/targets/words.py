"""A text that knows its words, and which of a tokenizer's pieces each of them begins with."""

from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["Words", "first_pieces"]


class Words(str):
    """Words with a blank between them, so that a person, a hash and a tokenizer see a text.

    Attributes:
        words: as they were given; one may hold a blank itself.

    Example:
        >>> text = Words(["New York", "sleeps"])
        >>> text, text.words, text.spans()
        ('New York sleeps', ('New York', 'sleeps'), [(0, 8), (9, 15)])
    """

    words: tuple[str, ...]

    def __new__(cls, words: Iterable[str]) -> "Words":
        """Join them."""
        words = tuple(words)
        text = super().__new__(cls, " ".join(words))
        text.words = words
        return text

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return type(self), (self.words,)

    def spans(self) -> list[tuple[int, int]]:
        """Where each word begins and ends in the text."""
        ends = np.cumsum([len(word) + 1 for word in self.words]) - 1
        return [
            (int(end) - len(word), int(end)) for end, word in zip(ends, self.words, strict=True)
        ]


def first_pieces(spans: Sequence[tuple[int, int]], pieces: Sequence[tuple[int, int]]) -> list[int]:
    """Which piece each word begins with; −1 for a word of which there is none, as behind a cut.

    Args:
        spans: where words begin and end, from :meth:`Words.spans`.
        pieces: where a tokenizer's pieces do; those that stand for no character are empty.

    Example:
        >>> first_pieces([(0, 4), (5, 7), (8, 9)], [(0, 0), (0, 2), (2, 4), (4, 7), (0, 0)])
        [1, 3, -1]
    """
    first = [-1] * len(spans)
    word = 0
    for number, (begin, end) in enumerate(pieces):
        if end <= begin:
            continue
        while word < len(spans) and spans[word][1] <= begin:
            word += 1
        if word < len(spans) and end > spans[word][0] and first[word] < 0:
            first[word] = number
    return first
