"""A model that guesses the next token, or hidden ones, before any fine-tuning."""

import torch
from torch import nn

from pclora_lab.data.splits import LabeledData
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.models.adapting import input_kind
from pclora_lab.models.loading import load_model
from pclora_lab.nn.metadata import recipe_of

__all__ = ["load_causal_model", "load_masked_model"]

_CURES = {
    "language-model": "take a causal language model, such as llama_glosses or gpt2",
    "masked-language-model": "take a BERT-like model with its head for hidden words, such as "
    "bert-base-uncased",
}


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
    return _load("language-model", name, data, img_size, max_tokens, split_qkv, seed)


def load_masked_model(
    name: str,
    data: LabeledData,
    *,
    img_size: int | None = None,
    max_tokens: int | None = None,
    split_qkv: bool = False,
    seed: int = 0,
) -> nn.Module:
    """A BERT-like model of transformers, with its own head for hidden words and its tokenizer.

    Args:
        name: of the hub, a folder, or a finished run's ``compressed``.
        data: of texts.
        img_size: None, as it reads no images.
        max_tokens: length of a window; None: 128, or the model's room.
        split_qkv: take fused query-key-value layers apart.
        seed: of whatever is new.

    Raises:
        ValueError: a model of images, one that classifies, or one that has no such head.
    """
    return _load("masked-language-model", name, data, img_size, max_tokens, split_qkv, seed)


def _load(
    task: str,
    name: str,
    data: LabeledData,
    img_size: int | None,
    max_tokens: int | None,
    split_qkv: bool,
    seed: int,
) -> nn.Module:
    model = load_model(
        name, task=task, img_size=img_size, max_tokens=max_tokens, split_qkv=split_qkv,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    if input_kind(model) != "text":
        raise ValueError(f"{name!r} reads images, but {data.name!r} holds texts: {_CURES[task]}")
    if (own := recipe_of(model).get("task")) != task:
        raise ValueError(f"{name!r} was saved for {own} and not as a {task}: {_CURES[task]}")
    TextPreprocessing.of(model)
    return model
