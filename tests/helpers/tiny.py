"""One tiny, randomly initialized model per architecture that the project says it takes."""

import torch
from timm.models import (
    SwinTransformer,
    VisionTransformer,
    is_model,
    register_model,
    swin_tiny_patch4_window7_224,
    vit_tiny_patch16_224,
)
from tiny_configs import IMAGES as HF_IMAGES
from tiny_configs import TEXTS, TOKENS, WORDS
from torch import Tensor, nn

from pclora_lab.models.hf_config import safe_config
from pclora_lab.models.loading import load_model
from pclora_lab.models.recipes import build_from_recipe
from pclora_lab.nn.forward import example_input

# By transformers' type; timm's are below.
CONFIGS = {**HF_IMAGES, **TEXTS}
IMAGES = {
    "vit_digits": {"name": "vit_digits"},
    "deit": {"name": "deit_tiny_patch16_224", "img_size": 32},
    "swin": {"name": "tiny_swin", "img_size": 56},
    "convnext": {"name": "test_convnext", "img_size": 32},
}
_TASKS = {"vit": "image-classification", "clip": "image-text"}


def tiny_swin(pretrained: bool = False, **options) -> SwinTransformer:
    """Two stages of two blocks; in the first, windows are shifted, and patches merged after it."""
    sizes = {"embed_dim": 32, "depths": (2, 2), "num_heads": (2, 4)}
    model = swin_tiny_patch4_window7_224(pretrained, **sizes, **options)
    model.pretrained_cfg = {**model.pretrained_cfg, "architecture": "tiny_swin"}
    return model


def tiny_vit(pretrained: bool = False, **options) -> VisionTransformer:
    """One block of three heads and 24 channels: for what is counted again and again."""
    sizes = {"img_size": 8, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 3}
    model = vit_tiny_patch16_224(pretrained, **{**sizes, **options})
    model.pretrained_cfg = {**model.pretrained_cfg, "architecture": "tiny_vit"}
    return model


# Doctests are looked for in a second import of this file.
for _builder in (tiny_swin, tiny_vit):
    if not is_model(_builder.__name__):
        register_model(_builder)


def tiny(kind: str, task: str | None = None, *, split_qkv: bool = False) -> nn.Module:
    """An untrained model with three classes and weights that are not all small; always the same."""
    torch.manual_seed(0)
    if kind in IMAGES:
        model = load_model(**IMAGES[kind], num_classes=3, pretrained=False, split_qkv=split_qkv)
    else:
        model = _of_transformers(kind, task or _TASKS.get(kind, "text-classification"), split_qkv)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    model.pclora_head_is_new = False
    return model.eval()


def _of_transformers(kind: str, task: str, split_qkv: bool) -> nn.Module:
    from transformers import AutoConfig

    classes = 3 if task.endswith("classification") else None
    config = AutoConfig.for_model(kind, **CONFIGS[kind])
    if classes:
        config.num_labels = classes
    recipe = {
        "library": "transformers",
        "task": task,
        "config": safe_config(config),
        "num_classes": classes,
        "img_size": None,
        "split_qkv": split_qkv,
    }
    if kind == "vit":
        settings = {"input_size": (3, 16, 16), "mean": (0.5,) * 3, "std": (0.5,) * 3}
        recipe["preprocessing"] = {**settings, "classifier": "classifier", "num_classes": 3}
    else:
        recipe["tokens"] = TOKENS
    return build_from_recipe(recipe)


def batch(model: nn.Module, examples: int = 4) -> Tensor | dict[str, Tensor]:
    """Inputs of the model's own shape; texts have padding at the end of the first."""
    generator = torch.Generator().manual_seed(1)
    example = example_input(model)
    if isinstance(example, Tensor):
        return torch.randn(examples, *example.shape[1:], generator=generator)
    made = {}
    for name, value in example.items():
        shape = (examples, *value.shape[1:])
        if value.is_floating_point():
            made[name] = torch.randn(shape, generator=generator)
        else:
            made[name] = torch.randint(3, WORDS - 2, shape, generator=generator)
    if "input_ids" in made:
        made["attention_mask"] = torch.ones_like(made["input_ids"])
        made["attention_mask"][0, -3:] = 0
        if "pixel_values" in made:
            made["input_ids"][:, -1] = WORDS - 1  # CLIP reads a text at its last token
            made["attention_mask"][0] = 1
    return made
