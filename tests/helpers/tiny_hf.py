"""Folders as transformers saves them: tiny models that were never trained, and their tokenizers."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tiny_configs import IMAGES, MODEL_TYPES, TEXTS, WORDS
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ViTImageProcessor,
)

from pclora_lab.quiet import quiet

NAMES = ("ant", "bee", "cat")
TYPES = (
    "bert",
    "distilbert",
    "roberta",
    "electra",
    "modernbert",
    "deberta-v2",
    "gpt2",
    "llama",
    "vit",
)


def tokenizer(words: int = WORDS, pad: int = 0) -> PreTrainedTokenizerFast:
    """Knows the words w5, w6, …, each by the number in it; ``pad`` is the padding's."""
    entries = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    entries.insert(pad, "[PAD]")
    entries += [f"w{i}" for i in range(5, words)]
    numbers = {entry: number for number, entry in enumerate(entries)}
    made = Tokenizer(WordPiece(numbers, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    ends = [(word, numbers[word]) for word in ("[CLS]", "[SEP]")]
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def config(kind: str, **changes: Any) -> Any:
    """Three classes; ``changes`` override the tiny sizes."""
    names = dict(enumerate(NAMES))
    numbers = {name: number for number, name in names.items()}
    # transformers looks through the architectures of a model with two kinds of heads.
    values = {"architectures": [], "id2label": names, "label2id": numbers}
    values |= {**TEXTS, **IMAGES}[kind]
    return AutoConfig.for_model(MODEL_TYPES.get(kind, kind), **{**values, **changes})


def image_side(made: Any) -> int:
    """Of a configuration's input, in pixels."""
    size = getattr(getattr(made, "vision_config", made), "image_size", 32)
    return size if isinstance(size, int) else size[0]


def auto_class(kind: str) -> type:
    """What transformers itself loads such a folder with."""
    is_text = kind in TEXTS
    return AutoModelForSequenceClassification if is_text else AutoModelForImageClassification


def write_model(
    folder: Path, kind: str, made: PreTrainedModel | None = None, **changes: Any
) -> Path:
    """``config.json``, weights, and the tokenizer or what to do with pixels."""
    torch.manual_seed(0)
    if made is None:
        made = auto_class(kind).from_config(config(kind, **changes))
        # The usual start is so small that every class would get about the same logit.
        for parameter in made.parameters():
            parameter.data.normal_(std=0.2)
    made.save_pretrained(folder)
    if kind in IMAGES:
        side = dict.fromkeys(("height", "width"), image_side(made.config))
        ViTImageProcessor(
            size=side, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]
        ).save_pretrained(folder)
    else:
        tokenizer(pad=getattr(made.config, "pad_token_id", None) or 0).save_pretrained(folder)
    return folder


def altered(source: Path, folder: Path, name: str = "config.json", **changes: Any) -> Path:
    """A copy with other values in one of its JSON files."""
    shutil.copytree(source, folder)
    values = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(values | changes))
    return folder


def seeded(seed: int) -> torch.Generator:
    """The same draws for the same seed."""
    return torch.Generator().manual_seed(seed)


def opened(kind: str, folder: Path, **options: Any) -> Any:
    """The model of a folder, through the door of its kind."""
    with quiet():
        return auto_class(kind).from_pretrained(folder, **options)


def batch(kind: str) -> dict[str, torch.Tensor]:
    """Two images or texts, always the same."""
    if kind == "vit":
        return {"pixel_values": torch.randn(2, 3, 16, 16, generator=seeded(1))}
    return {"input_ids": torch.randint(5, 90, (2, 9), generator=seeded(1))}


def logits(model: Any, kind: str) -> torch.Tensor:
    """What a model makes of them."""
    with torch.no_grad():
        return model(**batch(kind)).logits
