"""Texts as a language model takes them: tokenized once, padded per batch to its longest text.

A pair of texts is one example: the tokenizer joins them as its model expects it, and a model that
tells the first from the second by token types gets these too.
"""

import inspect
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from pclora_lab.data.batches import Batches
from pclora_lab.data.splits import Split, hash_of_texts
from pclora_lab.nn.forward import Inputs, on_device, to_device

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["TextBatches", "TextPreprocessing", "TokenIds", "by_length", "reads_token_types"]

_POOL = 50


# What a tokenizer returns is a hundred times as large as the numbers that are kept of it.
_CHUNK = 2000


Text = str | tuple[str, str]


@dataclass(frozen=True)
class TokenIds:
    """Texts as a tokenizer made them.

    Attributes:
        ids: numbers of every text's tokens.
        types: 0 for a token of the first text of a pair, 1 for one of the second; None for texts
            that are no pairs, and for a model that does not ask.
        cut: how many texts were cut.
    """

    ids: list[Tensor]
    types: list[Tensor] | None
    cut: int


def reads_token_types(model: nn.Module) -> bool:
    """Whether a model tells the first text of a pair from the second by a number at each token.

    Example:
        >>> reads_token_types(nn.Linear(1, 1))
        False
    """
    takes = "token_type_ids" in inspect.signature(model.forward).parameters
    config = getattr(model, "config", None)
    return takes and getattr(config, "type_vocab_size", 2) > 1


@dataclass(frozen=True)
class TextPreprocessing:
    """What a model expects of a text, or of a pair of texts.

    Attributes:
        tokenizer: the model's own.
        max_tokens: longer texts are cut, special tokens included; of a pair, the longer one.
        token_types: whether the model reads them; see :func:`reads_token_types`.
        pad_left: whether shorter texts are filled up at their beginning, for models that read a
            text at its last place, as XLNet does.
    """

    tokenizer: "PreTrainedTokenizerBase"
    max_tokens: int
    token_types: bool = False
    pad_left: bool = False

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

    def fingerprint(self) -> str:
        """A hash of all that turns a text into the model's input; the vocabulary is read once."""
        return hash_of_texts(
            self._tokenizer_hash, f"{self.max_tokens} {self.token_types} {self.pad_left}"
        )

    def facts(self) -> dict[str, Any]:
        """What the hash is of, by name."""
        given = {"max_tokens": self.max_tokens, "token_types": self.token_types}
        # Its rules say all that a fast tokenizer does, whatever a version calls the class.
        is_fast = getattr(self.tokenizer, "backend_tokenizer", None) is not None
        own = {} if is_fast else {"class": type(self.tokenizer).__name__}
        return {**given, "pad_left": self.pad_left, **own, **self._tokenizer_facts()}

    @cached_property
    def _tokenizer_hash(self) -> str:
        name = type(self.tokenizer).__name__
        return hash_of_texts(name, json.dumps(self._tokenizer_facts(), sort_keys=True, default=str))

    def _tokenizer_facts(self) -> dict[str, Any]:
        own = getattr(self.tokenizer, "backend_tokenizer", None)
        rules = json.loads(own.to_str()) if own is not None else self.tokenizer.get_vocab()
        # What it was last asked for stands there too, and every call says it anew.
        plain = {name: rules[name] for name in rules if name not in ("truncation", "padding")}
        kept = ("padding_side", "truncation_side", "model_input_names")
        facts = {name: getattr(self.tokenizer, name, None) for name in kept}
        return facts | {"rules": plain, "special": self.tokenizer.special_tokens_map}

    def batches(self, split: Split) -> "TextBatches":
        """A split as batches of token numbers."""
        return TextBatches(split, self)

    def encode(self, texts: Sequence[Text]) -> dict[str, Tensor]:
        """One padded batch: ``input_ids`` and ``attention_mask``, ``(batch, tokens)``.

        For pairs also ``token_type_ids``, if the model reads them.
        """
        return self.padded(self.token_ids(texts), range(len(texts)))

    def token_ids(self, texts: Sequence[Text]) -> TokenIds:
        """The numbers of every text's tokens, cut at ``max_tokens``."""
        is_paired = len(texts) > 0 and isinstance(texts[0], tuple)
        types: list[Tensor] | None = [] if is_paired and self.token_types else None
        ids: list[Tensor] = []
        cut = 0
        for start in range(0, len(texts), _CHUNK):
            part = list(texts[start : start + _CHUNK])
            encoded = self.tokenizer(
                *([[text[i] for text in part] for i in (0, 1)] if is_paired else [part]),
                truncation=True,
                max_length=self.max_tokens,
                return_attention_mask=False,
                return_token_type_ids=types is not None,
            )
            cut += sum(bool(encoding.overflowing) for encoding in encoded.encodings or ())
            ids += [
                torch.tensor(one, dtype=torch.long, device="cpu") for one in encoded["input_ids"]
            ]
            if types is not None:
                types += [torch.tensor(one, device="cpu") for one in encoded["token_type_ids"]]
        return TokenIds(ids, types, cut)

    def padded(self, tokens: TokenIds, rows: Sequence[int]) -> dict[str, Tensor]:
        """Some of the texts as one batch; see :meth:`encode`."""
        ids = [tokens.ids[row] for row in rows]
        side = "left" if self.pad_left else "right"
        ones = [torch.ones_like(one) for one in ids]
        batch = {
            "input_ids": pad_sequence(ids, True, self.tokenizer.pad_token_id, side),
            "attention_mask": pad_sequence(ones, True, 0, side),
        }
        if tokens.types is not None:
            types = [tokens.types[row] for row in rows]
            batch["token_type_ids"] = pad_sequence(types, True, 0, side)
        return batch


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
    drawn = torch.randperm(len(lengths), generator=generator, device="cpu")[:whole]
    for pool in drawn.split(_POOL * batch_size):
        batches += pool[lengths[pool].argsort(stable=True)].split(batch_size)
    order = torch.randperm(len(batches), generator=generator, device="cpu")
    for number in order.tolist():
        yield batches[number]


class TextBatches(Batches):
    """A split of texts as batches of ``input_ids`` and, where a text is padded, a mask.

    Args:
        split: raw texts, or pairs of them, and labels.
        preprocessing: the model's.
    """

    def __init__(self, split: Split, preprocessing: TextPreprocessing) -> None:
        super().__init__(torch.as_tensor(split.labels, device="cpu"))
        self.split, self.preprocessing = split, preprocessing
        self._encoded: TokenIds | None = None

    @property
    def ids(self) -> list[Tensor]:
        """Token numbers of every text; made when first asked for."""
        return self._encode().ids

    @property
    def cut(self) -> int:
        """How many texts are longer than the model reads."""
        return self._encode().cut

    def notes(self, name: str) -> list[str]:
        """How many texts were cut."""
        if not self.cut:
            return []
        return [
            f"{self.cut:,} of {len(self):,} texts of {name} are longer than "
            f"{self.preprocessing.max_tokens} tokens and were cut"
        ]

    def _encode(self) -> TokenIds:
        if self._encoded is None:
            self._encoded = self.preprocessing.token_ids(self.split.examples)
        return self._encoded

    @cached_property
    def lengths(self) -> Tensor:
        """Tokens of every text, ``(examples,)``."""
        return torch.tensor([len(one) for one in self.ids], device="cpu")

    def inputs(
        self, indices: Tensor, device: torch.device | str | None = None
    ) -> dict[str, Tensor]:
        """``input_ids`` and, where a text is padded, ``attention_mask``; ``(batch, tokens)``."""
        padded = self.preprocessing.padded(self._encode(), indices.tolist())
        if padded["attention_mask"].all():
            # Decided here, where it is free: transformers asks a mask on the GPU, and waits.
            del padded["attention_mask"]
        return {name: on_device(values, device) for name, values in padded.items()}

    def part(
        self, indices: Tensor, rows: slice, device: torch.device | str | None = None
    ) -> tuple[Inputs, Tensor]:
        """Some rows of a batch, padded to the longest text of the whole of it."""
        padded = {name: values[rows] for name, values in self.inputs(indices).items()}
        return to_device(padded, device), on_device(self.labels[indices[rows]], device)

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """See :func:`by_length`; epoch after epoch."""
        batch_size, lengths = min(batch_size, len(self)), self.lengths
        while True:
            yield from by_length(lengths, batch_size, generator)

    def for_scoring(self, batch_size: int, limit: int | None = None) -> Iterator[Tensor]:
        """Shortest first, so that a batch has little padding."""
        indices = self._indices(limit)
        yield from indices[self.lengths[indices].argsort(stable=True)].split(batch_size)
