"""Texts as token numbers with a tag at the first piece of each word."""

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pclora_lab.data.splits import Split
from pclora_lab.data.targets.tags import UNTAGGED
from pclora_lab.data.targets.words import Words, first_pieces
from pclora_lab.data.texts import TextBatches, TextPreprocessing
from pclora_lab.nn.forward import Inputs, on_device, to_device

__all__ = ["TagBatches"]

_CHUNK = 2000


class TagBatches(TextBatches):
    """``input_ids`` with tags ``(batch, tokens)``; −100 where a piece begins no word.

    Args:
        split: of :class:`Words`, with an array of tag numbers for each.
        preprocessing: the model's.

    Raises:
        ValueError: a tokenizer that does not say which characters its pieces are.
    """

    def __init__(self, split: Split, preprocessing: TextPreprocessing) -> None:
        assert split.targets is not None, "these data were read for another task"
        if not getattr(preprocessing.tokenizer, "is_fast", False):
            raise ValueError(
                f"{type(preprocessing.tokenizer).__name__} does not say which characters its "
                "pieces are, so tags can't be given to them: take a model with a fast tokenizer "
                "(tokenizer.json)"
            )
        super().__init__(Split(split.examples, np.zeros(len(split), np.int64)), preprocessing)
        self._tags = split.targets

    @cached_property
    def tags(self) -> list[Tensor]:
        """The tag of every token of every text; made when first asked for."""
        made = []
        for start in range(0, len(self), _CHUNK):
            texts = self.split.examples[start : start + _CHUNK]
            encoded = self.preprocessing.tokenizer(
                [str(text) for text in texts],
                truncation=True,
                max_length=self.preprocessing.max_tokens,
                return_offsets_mapping=True,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
            for row, (text, pieces) in enumerate(
                zip(texts, encoded["offset_mapping"], strict=True)
            ):
                made.append(_tagged(text, pieces, self._tags[start + row]))
        return made

    @cached_property
    def lost(self) -> int:
        """How many words have a tag and no piece, because their text was cut before them."""
        given = sum(int((np.asarray(tags) != UNTAGGED).sum()) for tags in self._tags)
        return given - sum(int(tags.ne(UNTAGGED).sum()) for tags in self.tags)

    def notes(self, name: str) -> list[str]:
        """How many tagged words were cut off."""
        if not self.lost:
            return []
        longest = self.preprocessing.max_tokens
        return [
            f"{self.lost:,} tagged words of {name} lie behind {longest} tokens or have none of "
            "their own: their tags are not used"
        ]

    def _targets(self, indices: Tensor) -> Tensor:
        side = "left" if self.preprocessing.pad_left else "right"
        return pad_sequence([self.tags[i] for i in indices.tolist()], True, UNTAGGED, side)

    def batch(
        self, indices: Tensor, device: torch.device | str | None = None
    ) -> tuple[Inputs, Tensor]:
        """Inputs and tags of these texts."""
        return self.inputs(indices, device), on_device(self._targets(indices), device)

    def part(
        self, indices: Tensor, rows: slice, device: torch.device | str | None = None
    ) -> tuple[Inputs, Tensor]:
        """Some rows of a batch, padded to the longest text of the whole of it."""
        padded = {name: values[rows] for name, values in self.inputs(indices).items()}
        return to_device(padded, device), on_device(self._targets(indices)[rows], device)

    def begun(
        self, indices: Tensor
    ) -> Callable[[torch.device | str | None], tuple[Inputs, Tensor]]:
        """Nothing takes work before the device is known."""
        return partial(self.batch, indices)


def _tagged(text: Words, pieces: list[tuple[int, int]], tags: np.ndarray) -> Tensor:
    """The tag of each piece, int64 ``(tokens,)``."""
    made = torch.full((len(pieces),), UNTAGGED, device="cpu")
    for piece, tag in zip(first_pieces(text.spans(), pieces), tags.tolist(), strict=True):
        if piece >= 0:
            made[piece] = tag
    return made
