"""transformers' models that answer for every pixel: SegFormer, and UPerNet on a backbone.

Their logits come out smaller than their images (SegFormer's have a quarter of the side): the task
upsamples them bilinearly to the masks' size.
"""

from typing import Any

from torch import nn
from transformers import PreTrainedConfig
from transformers.models.auto import modeling_auto as auto

__all__ = ["PIXELS", "SEGMENTERS", "check_segmenter", "output_convolution"]

PIXELS = "semantic-segmentation"
"""As :data:`pclora_lab.models.hf_models.HF_TASKS` calls it."""

SEGMENTERS = ("segformer", "upernet")

# Others are convolutions throughout, or would be fetched from the hub when they are built.
_BACKBONES = ("swin", "convnext", "convnextv2")

_CURE = (
    "take SegFormer, UPerNet on Swin, or a plain vision transformer of timm's, such as "
    "deit_tiny_patch16_224"
)

_THINGS = (
    auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES,
    auto.MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES,
    auto.MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES,
    auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
    auto.MODEL_FOR_MASK_GENERATION_MAPPING_NAMES,
)

_TEXTS = (
    auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
)


def check_segmenter(config: PreTrainedConfig, name: str) -> None:
    """Refuse what has no class for every pixel, and leave UPerNet's second head out.

    That one looks at the images in training only, and with a loss of its own.

    Args:
        config: of the model; changed in place.
        name: for errors.

    Raises:
        ValueError: another type of model or backbone; says what its answers are.

    Example:
        >>> from transformers import DetrConfig
        >>> check_segmenter(DetrConfig(), "detr")
        Traceback (most recent call last):
        ValueError: 'detr' is of type 'detr', which answers with masks or boxes of whole things \
and not with a class for every pixel: take SegFormer, UPerNet on Swin, or a plain vision \
transformer of timm's, such as deit_tiny_patch16_224
    """
    kind = config.model_type
    if kind not in SEGMENTERS:
        raise ValueError(f"{name!r} {_why_not(kind)}: {_CURE}")
    if kind == "upernet":
        settings: Any = config
        settings.use_auxiliary_head = False
        backbone = settings.backbone_config.model_type
        if backbone not in _BACKBONES:
            raise ValueError(
                f"{name!r} is UPerNet on {backbone!r}, which has no transformer blocks whose "
                f"layers could be replaced, or is none of transformers' own: {_CURE}"
            )


def _why_not(kind: str) -> str:
    if any(kind in names for names in _TEXTS):
        return "reads texts, and masks are of images"
    if any(kind in names for names in _THINGS):
        return (
            f"is of type {kind!r}, which answers with masks or boxes of whole things and not with "
            "a class for every pixel"
        )
    return f"is of type {kind!r} of transformers, of which this version makes no segmenter"


def output_convolution(model: nn.Module) -> str | None:
    """Name of the 1×1 convolution that gives the classes of pixels; None in other models.

    Example:
        >>> output_convolution(nn.Linear(2, 2)) is None
        True
    """
    head = getattr(model, "decode_head", None)
    is_there = isinstance(getattr(head, "classifier", None), nn.Conv2d)
    return "decode_head.classifier" if is_there else None
