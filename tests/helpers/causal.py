"""Tiny causal models of each kind that people compress, and greedy continuations by hand."""

import inspect
from typing import Any

import torch
from tiny_configs import TEXT, TEXTS, TOKENS
from torch import Tensor, nn
from transformers import AutoConfig, DynamicCache

from pclora_lab.models.hf_config import safe_config
from pclora_lab.models.recipes import build_from_recipe

_LLAMA = {**TEXTS["llama"], "max_position_embeddings": 64}
_QWEN = {**TEXT, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 64}
# GPT-2's layers are Conv1D, Qwen2's have biases, Qwen3's queries are normed.
CAUSAL: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", TEXTS["gpt2"]),
    "llama": ("llama", _LLAMA),
    "tied llama": ("llama", {**_LLAMA, "tie_word_embeddings": True}),
    "qwen2": ("qwen2", {**_QWEN, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", {**_QWEN, "tie_word_embeddings": True}),
}


def causal(name: str, task: str = "language-model") -> nn.Module:
    """Untrained, with weights so large that its continuations differ."""
    kind, sizes = CAUSAL[name]
    recipe = {
        "library": "transformers", "task": task, "num_classes": None, "img_size": None,
        "tokens": TOKENS, "config": safe_config(AutoConfig.for_model(kind, **sizes)),
    }  # fmt: skip
    torch.manual_seed(0)
    model = build_from_recipe(recipe)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(std=0.3)
    return model.eval()


def is_tied(model: Any) -> bool:
    """Whether what reads the words and what says them is one and the same weight."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


@torch.no_grad()
def continued(model: Any, ids: Tensor, count: int) -> Tensor:
    """The most likely token, again and again, without a cache; nothing ends it."""
    for _ in range(count):
        best = model(ids, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat((ids, best), dim=1)
    return ids


@torch.no_grad()
def token_by_token(model: Any, ids: Tensor) -> Tensor:
    """Logits of a text that is read one token at a time, what was before from the cache."""
    found, cache = [], DynamicCache(config=model.config)
    # transformers before 5.2x calls it by its old name.
    is_new = "cache" in inspect.signature(type(model).forward).parameters
    for place in range(ids.shape[1]):
        given = {"cache" if is_new else "past_key_values": cache}
        found.append(model(ids[:, place : place + 1], use_cache=True, **given).logits)
    return torch.cat(found, dim=1)
