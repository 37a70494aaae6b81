"""Small texts, a tokenizer for them, and an untrained Llama in a folder."""

from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

_SIZES, _THINGS = ("small", "large", "round", "old"), ("tree", "bird", "house", "river")
_PLACES = ("in a garden", "of a king", "by the sea that is deep", "made of stone", "for a child")


def small_texts() -> list[str]:
    """80 definitions of things, all different, of 6 to 11 words."""
    return [
        f"a {size} {thing} {place} that is not new"
        for size in _SIZES for thing in _THINGS for place in _PLACES
    ]  # fmt: skip


def small_tokenizer(
    *, start: bool = True, end: bool = True, padding: bool = True
) -> PreTrainedTokenizerFast:
    """Byte pairs of :func:`small_texts`, with or without each of the special tokens."""
    learner = ByteLevelBPETokenizer(add_prefix_space=True)
    special = ["<s>", "</s>", "<pad>"]
    learner.train_from_iterator(
        iter(small_texts()), vocab_size=320, special_tokens=special, show_progress=False
    )
    if start:
        learner.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    named = {"eos_token": "</s>" if end else None, "pad_token": "<pad>" if padding else None}
    return PreTrainedTokenizerFast(
        tokenizer_object=learner._tokenizer, bos_token="<s>", clean_up_tokenization_spaces=False,
        **{name: token for name, token in named.items() if token},
    )  # fmt: skip


SIZES = {
    "llama": {
        "hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 48, "tie_word_embeddings": True,
    },
    "gpt2": {"n_embd": 40, "n_layer": 2, "n_head": 2, "n_positions": 48, "n_inner": 48},
}  # fmt: skip


def write_speaker(folder: Path, kind: str = "llama", **special: bool) -> Path:
    """A folder with an untrained model of language and its tokenizer; always the same."""
    tokenizer = small_tokenizer(**special)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **SIZES[kind])
    config.bos_token_id, config.eos_token_id = 0, tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
