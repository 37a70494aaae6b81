"""Texts as batches in which some tokens are hidden, with what is to be guessed."""

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pclora_lab.data.language.batches import UNCOUNTED, DecodedRows
from pclora_lab.data.language.masking import mask_tokens
from pclora_lab.data.splits import Split
from pclora_lab.data.texts import TextBatches, TextPreprocessing, TokenIds
from pclora_lab.nn.forward import Inputs, on_device, to_device

__all__ = ["MaskedBatches"]

# What a tokenizer returns is a hundred times as large as the numbers that are kept of it.
_CHUNK = 2000

# Rows that are measured at once, whatever is asked for: see MaskedBatches.
_SCORED, _MOST_LOGITS = 32, 2**26


class MaskedBatches(TextBatches):
    """A split of texts as ``input_ids`` with targets ``(batch, tokens)``.

    Targets hold the numbers of the tokens that were chosen, −100 everywhere else. A row is a text,
    or a window of one that is longer than a block, each with the special tokens around it.

    Which tokens are chosen is drawn by a seed that is a hash of the numbers of a batch's rows. So
    there is no state: a run that is taken up hides what it would have hidden, each epoch hides
    other tokens because its batches are others, and every measurement of a split hides the same
    ones, as its batches are always the same.

    Args:
        split: of texts.
        preprocessing: the model's; its ``max_tokens`` is the length of a block.

    Raises:
        ValueError: pairs of texts, not one text with a token to guess, or a tokenizer that has no
            token to hide others with, or none of the fast kind.
    """

    def __init__(self, split: Split, preprocessing: TextPreprocessing) -> None:
        if any(not isinstance(example, str) for example in split.examples[:1]):
            raise ValueError("a pair of texts is no document: name one column with text_column")
        tokenizer = preprocessing.tokenizer
        if tokenizer.mask_token_id is None or not tokenizer.is_fast:
            raise ValueError(
                f"the tokenizer, a {type(tokenizer).__name__}, has no token that hides others, or "
                "is none of the fast kind: take the tokenizer of a BERT-like model, saved as "
                "tokenizer.json"
            )
        names = ("cls", "sep", "bos", "eos", "pad")
        numbers = {getattr(tokenizer, f"{name}_token_id") for name in names} - {None}
        self._special = torch.tensor(sorted(numbers), device="cpu")
        windows, self.texts_used = self._windows(split.examples, preprocessing)
        if not windows:
            raise ValueError(
                f"none of {len(split):,} texts has a token, so that there is nothing to guess: "
                "name another text_column"
            )
        super().__init__(split, preprocessing)
        self.labels = torch.zeros(len(windows), dtype=torch.long, device="cpu")
        self._encoded = TokenIds(windows, None, 0)

    def _windows(
        self, texts: Sequence[str], preprocessing: TextPreprocessing
    ) -> tuple[list[Tensor], int]:
        """Token numbers of every window, and of how many texts they are."""
        windows, used = [], set[int]()
        for start in range(0, len(texts), _CHUNK):
            encoded = preprocessing.tokenizer(
                list(texts[start : start + _CHUNK]),
                truncation=True,
                max_length=preprocessing.max_tokens,
                return_overflowing_tokens=True,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
            rows = zip(encoded["input_ids"], encoded["overflow_to_sample_mapping"], strict=True)
            for numbers, text in rows:
                ids = torch.tensor(numbers, dtype=torch.long, device="cpu")
                if not torch.isin(ids, self._special).all():
                    windows.append(ids)
                    used.add(start + text)
        return windows, len(used)

    @property
    def texts(self) -> Sequence[str]:
        """What the rows say, as far as the tokens keep it."""
        return DecodedRows(self.ids, self.preprocessing)

    def notes(self, name: str) -> list[str]:
        """Texts without a token, and those that were cut into windows."""
        found = []
        if left_out := len(self.split) - self.texts_used:
            found.append(
                f"{left_out:,} of {len(self.split):,} texts of {name} have no token to guess and "
                "were left out"
            )
        if self.texts_used < len(self):
            found.append(
                f"{self.texts_used:,} texts of {name} were cut into {len(self):,} windows of at "
                f"most {self.preprocessing.max_tokens} tokens"
            )
        return found

    def batch(
        self, indices: Tensor, device: torch.device | str | None = None
    ) -> tuple[Inputs, Tensor]:
        """Inputs and targets, each ``(batch, tokens)``, on the device."""
        return self.part(indices, slice(None), device)

    def part(
        self, indices: Tensor, rows: slice, device: torch.device | str | None = None
    ) -> tuple[Inputs, Tensor]:
        """Some rows of a batch, with the tokens hidden that are hidden in the whole of it."""
        inputs, targets = self._masked(indices)
        named = {name: values[rows] for name, values in inputs.items()}
        return to_device(named, device), on_device(targets[rows], device)

    def _masked(self, indices: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        inputs = self.inputs(indices)
        ids = inputs["input_ids"]
        tokenizer = self.preprocessing.tokenizer
        special = torch.isin(ids, self._special)
        changed, chosen = mask_tokens(
            ids, special, int(tokenizer.mask_token_id), len(tokenizer), _generator(indices)
        )
        return {**inputs, "input_ids": changed}, ids.where(chosen, UNCOUNTED)

    def for_scoring(self, batch_size: int, limit: int | None = None) -> Iterator[Tensor]:
        """Shortest first; the same batches whatever ``batch_size`` is, and so the same tokens."""
        words = len(self.preprocessing.tokenizer)
        for indices in super().for_scoring(_SCORED, limit):
            longest = int(self.lengths[indices].max())
            yield from indices.split(max(1, _MOST_LOGITS // (longest * words)))


def _generator(indices: Tensor) -> torch.Generator:
    """By the numbers of a batch's rows, in their order."""
    digest = hashlib.sha256(indices.to("cpu", torch.int64).numpy().tobytes()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:7], "little"))
