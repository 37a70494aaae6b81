"""Folders of transformers' models of pixels: tiny, never trained, five classes."""

from pathlib import Path
from typing import Any

import torch
from tiny_configs import IMAGES
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    PreTrainedModel,
    SegformerImageProcessor,
)

SIDE, CLASSES = 32, 5
_UPERNET = {"hidden_size": 16, "pool_scales": (1, 2), "auxiliary_channels": 8}
# The head that looks at training images only reads the third stage.
_STAGES = {
    "depths": (1, 2, 1), "num_heads": (2, 4, 4), "num_stages": 3, "hidden_sizes": [16, 32, 32],
    "image_size": 32, "out_features": ["stage1", "stage2", "stage3"],
}  # fmt: skip
KINDS = {
    "segformer": {"decoder_hidden_size": 16},
    "upernet": {"backbone": "swin", **_UPERNET},
    "upernet_convnext": {"backbone": "convnext", **_UPERNET},
}


def made(kind: str, **changes: Any) -> PreTrainedModel:
    """A model, untrained but with weights that are not all small; always the same."""
    values = {**KINDS[kind], **changes}
    if (backbone := values.pop("backbone", None)) is not None:
        inner = AutoConfig.for_model(backbone, **{**IMAGES[backbone], **_STAGES})
        config = AutoConfig.for_model("upernet", backbone_config=inner, **values)
    else:
        config = AutoConfig.for_model(kind, **{**IMAGES[kind], **values})
    config.num_labels, config.architectures = CLASSES, []
    torch.manual_seed(0)
    model = AutoModelForSemanticSegmentation.from_config(config)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            parameter.data.normal_(std=0.1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if it had seen something
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def write_segmenter(folder: Path, kind: str, **changes: Any) -> str:
    """With its image processor, which squashes to 32×32; returns the folder's name."""
    made(kind, **changes).save_pretrained(folder)
    SegformerImageProcessor(size=dict.fromkeys(("height", "width"), SIDE)).save_pretrained(folder)
    return str(folder)
