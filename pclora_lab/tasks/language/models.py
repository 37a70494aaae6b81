"""A model that guesses the next token, before any fine-tuning."""

import torch
from torch import nn

from pclora_lab.data.splits import LabeledData
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.models.adapting import input_kind
from pclora_lab.models.loading import load_model
from pclora_lab.nn.metadata import recipe_of

__all__ = ["load_causal_model"]

_CURE = "take a causal language model, such as llama_glosses or gpt2"


def load_causal_model(
    name: str,
    data: LabeledData,
    *,
    img_size: int | None = None,
    max_tokens: int | None = None,
    split_qkv: bool = False,
    seed: int = 0,
) -> nn.Module:
    """A causal language model of transformers, with its own head and tokenizer.

    Args:
        name: embedded, of the hub, a folder, or a finished run's ``compressed``.
        data: of texts.
        img_size: None, as it reads no images.
        max_tokens: length of a block; None: 128, or the model's room.
        split_qkv: take fused query-key-value layers apart.
        seed: of whatever is new.

    Raises:
        ValueError: a model of images, one that classifies, or one that sees the token it guesses.
    """
    model = load_model(
        name, task="language-model", img_size=img_size, max_tokens=max_tokens,
        split_qkv=split_qkv, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    if input_kind(model) != "text":
        raise ValueError(f"{name!r} reads images, but {data.name!r} holds texts: {_CURE}")
    if (task := recipe_of(model).get("task")) != "language-model":
        raise ValueError(f"{name!r} was saved for {task} and guesses no tokens: {_CURE}")
    TextPreprocessing.of(model)
    return model
