"""Texts as a language model takes them: tokenized once, padded per batch to its longest text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from pclora_lab.data.batches import Batches
from pclora_lab.data.splits import Split

__all__ = ["TextPreprocessing", "TextBatches", "by_length"]

_POOL = 50


# What a tokenizer returns is a hundred times as large as the numbers that are kept of it.
_CHUNK = 2000


@dataclass(frozen=True)
class TextPreprocessing:
    """What a model expects of a text.

    Attributes:
        tokenizer: the model's own.
        max_tokens: longer texts are cut, special tokens included.
    """

    tokenizer: PreTrainedTokenizerBase
    max_tokens: int

    @classmethod
    def of(cls, model: nn.Module) -> "TextPreprocessing":
        """What :func:`pclora_lab.load_model` found beside the model.

        Raises:
            ValueError: the model came without a tokenizer.
        """
        found = getattr(model, "pclora_text", None)
        if found is None:
            raise ValueError(
                f"{type(model).__name__} came without a tokenizer: load it by name or from a "
                "folder that has tokenizer.json"
            )
        return found

    def __deepcopy__(self, memo: dict) -> "TextPreprocessing":
        # Copies of a model share it: it never changes, and copying a vocabulary takes long.
        return self

    def batches(self, split: Split) -> "TextBatches":
        """A split as batches of token numbers."""
        return TextBatches(split, self)

    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """One padded batch: ``input_ids`` and ``attention_mask``, ``(batch, tokens)``."""
        ids, _ = self.token_ids(texts)
        return _padded(ids, self.tokenizer.pad_token_id)

    def token_ids(self, texts: Sequence[str]) -> tuple[list[Tensor], int]:
        """The numbers of every text's tokens, and how many texts were cut at ``max_tokens``."""
        ids: list[Tensor] = []
        cut = 0
        for start in range(0, len(texts), _CHUNK):
            encoded = self.tokenizer(
                list(texts[start : start + _CHUNK]),
                truncation=True,
                max_length=self.max_tokens,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
            cut += sum(bool(encoding.overflowing) for encoding in encoded.encodings or ())
            ids += [torch.tensor(one, dtype=torch.long) for one in encoded["input_ids"]]
        return ids, cut


def _padded(ids: list[Tensor], pad: int) -> dict[str, Tensor]:
    lengths = torch.tensor([len(one) for one in ids])
    padded = pad_sequence(ids, batch_first=True, padding_value=pad)
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    return {"input_ids": padded, "attention_mask": mask.long()}


def by_length(lengths: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers of one epoch in batches of like length, the batches in random order.

    Texts are drawn into pools of fifty batches, and only a pool is sorted: batches stay random
    enough, and little of the work goes into padding.

    Example:
        >>> batches = by_length(torch.tensor([3, 9, 2, 8]), 2, torch.Generator())
        >>> sorted(sorted(batch.tolist()) for batch in batches)
        [[0, 2], [1, 3]]
    """
    batches = []
    # What does not fill a batch is left out before sorting, or it would always be the longest.
    whole = len(lengths) // batch_size * batch_size
    for pool in torch.randperm(len(lengths), generator=generator)[:whole].split(_POOL * batch_size):
        batches += pool[lengths[pool].argsort(stable=True)].split(batch_size)
    for number in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[number]


class TextBatches(Batches):
    """A split of texts as batches of ``input_ids`` and ``attention_mask``.

    Args:
        split: raw texts and labels.
        preprocessing: the model's.
    """

    def __init__(self, split: Split, preprocessing: TextPreprocessing) -> None:
        super().__init__(torch.as_tensor(split.labels))
        self.split, self.preprocessing = split, preprocessing
        self._encoded: tuple[list[Tensor], int] | None = None

    @property
    def ids(self) -> list[Tensor]:
        """Token numbers of every text; made when first asked for."""
        return self._encode()[0]

    @property
    def cut(self) -> int:
        """How many texts are longer than the model reads."""
        return self._encode()[1]

    def _encode(self) -> tuple[list[Tensor], int]:
        if self._encoded is None:
            self._encoded = self.preprocessing.token_ids(self.split.examples)
        return self._encoded

    @cached_property
    def lengths(self) -> Tensor:
        """Tokens of every text, ``(examples,)``."""
        return torch.tensor([len(one) for one in self.ids])

    def inputs(
        self, indices: Tensor, device: torch.device | str | None = None
    ) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, ``(batch, tokens of the longest)``."""
        ids = [self.ids[index] for index in indices.tolist()]
        padded = _padded(ids, self.preprocessing.tokenizer.pad_token_id)
        return {name: value.to(device, non_blocking=True) for name, value in padded.items()}

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """See :func:`by_length`; epoch after epoch."""
        batch_size, lengths = min(batch_size, len(self)), self.lengths
        while True:
            yield from by_length(lengths, batch_size, generator)

    def for_scoring(self, batch_size: int, limit: int | None = None) -> Iterator[Tensor]:
        """Shortest first, so that a batch has little padding."""
        indices = self._indices(limit)
        yield from indices[self.lengths[indices].argsort(stable=True)].split(batch_size)
