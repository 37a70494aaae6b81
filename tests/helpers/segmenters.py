"""A vision transformer in a folder that is small enough to learn scenes in a test."""

import json

import timm
import torch
from safetensors.torch import save_file

SIZES = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}
NAME = "vit_tiny_patch16_224"


def write_small_vit(folder, **changes):
    """Random weights, always the same; ``changes`` override sizes. Returns the folder."""
    sizes = {**SIZES, **changes}
    torch.manual_seed(0)
    model = timm.create_model(NAME, num_classes=3, **sizes)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architecture": NAME, "num_classes": 3, "model_args": sizes}
    config["pretrained_cfg"] = {**model.pretrained_cfg, "num_classes": 3}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder
