"""Pieces of documents as batches, each row of one document, with what is to be guessed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import overload

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pclora_lab.data.language.pieces import cut_into_pieces
from pclora_lab.data.splits import Split
from pclora_lab.data.texts import TextBatches, TextPreprocessing, TokenIds
from pclora_lab.nn.forward import Inputs, on_device, to_device

__all__ = ["UNCOUNTED", "DecodedRows", "LanguageBatches"]

UNCOUNTED = -100
"""Of a place where there is no token to guess; torch and transformers use it as well."""

# Logits at once while a model is measured: 256 megabytes in float32, whatever the vocabulary.
_MOST_LOGITS = 2**26


class LanguageBatches(TextBatches):
    """A split of texts as ``input_ids`` with targets ``(batch, 2, tokens)``.

    ``targets[:, 0]`` holds the input's own token numbers, −100 where there is padding: a loss
    compares each with the answer at the place before it. ``targets[:, 1]`` holds the bytes of text
    that the tokens stand for, −1 for none.

    A row is a document, or a piece of one, and a batch is of rows of like length, so that little is
    padded and documents never meet: see :func:`cut_into_pieces`.

    Args:
        split: of texts.
        preprocessing: the model's; its ``max_tokens`` is the length of a block.

    Raises:
        ValueError: pairs of texts, or not one text with a token to guess.
    """

    def __init__(self, split: Split, preprocessing: TextPreprocessing) -> None:
        if any(not isinstance(example, str) for example in split.examples[:1]):
            raise ValueError("a pair of texts is no document: name one column with text_column")
        self.pieces = cut_into_pieces(split.examples, preprocessing)
        if not self.pieces.ids:
            raise ValueError(
                f"none of {len(split):,} texts has two tokens, so that there is nothing to guess: "
                "name another text_column, or take longer texts"
            )
        # Past what is padded nothing is read, so that a padded beginning would only move positions.
        super().__init__(split, replace(preprocessing, pad_left=False))
        self.labels = torch.zeros(len(self.pieces.ids), dtype=torch.long, device="cpu")
        self._encoded = TokenIds(self.pieces.ids, None, 0)

    @property
    def texts(self) -> Sequence[str]:
        """What the rows say, as far as the tokens keep it."""
        return DecodedRows(self.pieces.ids, self.preprocessing)

    def notes(self, name: str) -> list[str]:
        """Documents that are too short, or cut; a tokenizer that ends none."""
        pieces, found = self.pieces, []
        if pieces.too_short:
            found.append(
                f"{pieces.too_short:,} of {len(self.split):,} texts of {name} have no token to "
                "guess and were left out"
            )
        if (used := len(self.split) - pieces.too_short) < len(self):
            found.append(
                f"{used:,} texts of {name} were cut into {len(self):,} blocks of at most "
                f"{self.preprocessing.max_tokens} tokens"
            )
        if name == "train" and not pieces.is_ended:
            found.append(
                "the tokenizer has no token for the end of a text, so that no model learns where "
                "one ends"
            )
        return found

    def batch(
        self, indices: Tensor, device: torch.device | str | None = None
    ) -> tuple[Inputs, Tensor]:
        """Inputs ``(batch, tokens)`` and targets ``(batch, 2, tokens)``, on the device."""
        return self.part(indices, slice(None), device)

    def part(
        self, indices: Tensor, rows: slice, device: torch.device | str | None = None
    ) -> tuple[Inputs, Tensor]:
        """Some rows of a batch, padded to the longest of the whole of it."""
        inputs = {name: values[rows] for name, values in self.inputs(indices).items()}
        return to_device(inputs, device), on_device(self._targets(indices)[rows], device)

    def _targets(self, indices: Tensor) -> Tensor:
        chosen = indices.tolist()
        rows = (
            pad_sequence([values[row] for row in chosen], True, empty)
            for values, empty in ((self.pieces.ids, UNCOUNTED), (self.pieces.sizes, 0))
        )
        return torch.stack([*rows], dim=1)

    def for_scoring(self, batch_size: int, limit: int | None = None) -> Iterator[Tensor]:
        """Shortest first, and no more at once than its logits have room for."""
        words = len(self.preprocessing.tokenizer)
        for indices in super().for_scoring(batch_size, limit):
            longest = int(self.lengths[indices].max())
            yield from indices.split(max(1, _MOST_LOGITS // (longest * words)))


class DecodedRows(Sequence[str]):
    """Rows of token numbers as texts, made when they are asked for."""

    def __init__(self, rows: Sequence[Tensor], preprocessing: TextPreprocessing) -> None:
        self.rows, self.preprocessing = rows, preprocessing

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return DecodedRows(self.rows[index], self.preprocessing)
        tokenizer = self.preprocessing.tokenizer
        return str(tokenizer.decode(self.rows[index].tolist(), skip_special_tokens=True)).strip()
