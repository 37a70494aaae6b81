"""A tiny BERT with a head for hidden words, and a tokenizer of small texts, in a folder."""

from pathlib import Path

import torch
from speakers import small_texts
from transformers import AutoModelForMaskedLM, BertForMaskedLM

from pclora_lab.training.masked_lm import learn_vocabulary, small_bert_config

__all__ = ["write_guesser"]


def write_guesser(folder: Path) -> Path:
    """Untrained and always the same."""
    tokenizer = learn_vocabulary(small_texts(), 90, 24)
    config = small_bert_config(len(tokenizer), width=32, depth=2, heads=2, max_tokens=24)
    torch.manual_seed(0)
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def theirs(folder: Path) -> torch.nn.Module:
    """As transformers itself opens it."""
    return AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=False).eval()
