"""A model with a head for the classes of pixels, before any fine-tuning."""

import torch
from torch import nn

from pclora_lab.data.splits import LabeledData
from pclora_lab.models.adapting import head_matches, input_kind, reset_head
from pclora_lab.models.loading import load_model
from pclora_lab.nn.forward import call_model, eval_mode, example_input
from pclora_lab.nn.metadata import recipe_of, set_metadata
from pclora_lab.nn.patch_head import attach_patch_head, has_patch_head

__all__ = ["answers_for_pixels", "load_segmenter"]

_CURE = "take a plain vision transformer of timm's, such as deit_tiny_patch16_224"
_TASK = "semantic-segmentation"


def load_segmenter(
    name: str,
    data: LabeledData,
    *,
    img_size: int | None = None,
    max_tokens: int | None = None,
    split_qkv: bool = False,
    seed: int = 0,
) -> nn.Module:
    """A vision transformer with a linear layer per patch, or one of transformers' own segmenters.

    The first is timm's with a :class:`PatchHead`; the others are SegFormer and UPerNet on Swin or
    ConvNeXt, whose decoder is kept. One that was saved as a classifier gets a new decoder.

    Args:
        name: timm's, transformers', a folder, or a saved segmenter, whose head is kept where it is
            for these classes.
        data: with masks.
        img_size: side of the input in pixels, to which pictures and masks are squashed; None keeps
            the model's own.
        max_tokens: of a model of texts, which is refused by name.
        split_qkv: take fused query-key-value layers apart.
        seed: draws a new head.

    Raises:
        ValueError: a model of texts, another one of transformers, or without one grid of patches.
    """
    generator = torch.Generator().manual_seed(seed)
    model = load_model(
        name,
        img_size=img_size,
        max_tokens=max_tokens,
        split_qkv=split_qkv,
        task=_TASK,
        generator=generator,
    )
    if input_kind(model) != "image":
        raise ValueError(f"{name!r} reads texts, and masks are of images: {_CURE}")
    is_theirs = recipe_of(model).get("library") == "transformers"
    if not answers_for_pixels(model):
        attach_patch_head(model, data.num_classes, generator)
    elif not head_matches(model, data.class_names):
        reset_head(model, data.num_classes, generator)
    if is_theirs:
        from pclora_lab.models.heads.of_transformers import name_classes

        name_classes(model, data.class_names)
    else:
        _require_pixels(model, name)
    set_metadata(model, pclora_class_names=data.class_names)
    return model


def answers_for_pixels(model: nn.Module) -> bool:
    """Whether a loaded model has a head for the classes of pixels.

    Example:
        >>> answers_for_pixels(load_model("vit_digits"))
        False
    """
    return has_patch_head(model) or recipe_of(model).get("task") == _TASK


def _require_pixels(model: nn.Module, name: str) -> None:
    """Some models hand other things to their head than the tokens in their order."""
    example = example_input(model)
    assert isinstance(example, torch.Tensor)
    wanted = (model.num_classes, *example.shape[-2:])
    try:
        with eval_mode(model):
            found = tuple(call_model(model, example).shape[1:])
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{name!r} can't have a head per patch ({error}): {_CURE}") from error
    if found != wanted:
        raise ValueError(
            f"{name!r} with a head per patch answers {found} where {wanted} is asked: {_CURE}"
        )
