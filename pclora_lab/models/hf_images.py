"""What a transformers model wants of its pictures: its image processor, or what is usual."""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor, BaseImageProcessor, PreTrainedConfig

from pclora_lab.data.images import build_processor, resize_by
from pclora_lab.data.splits import short_name
from pclora_lab.models.hf_config import plain_errors
from pclora_lab.nn.layers.tracing import try_input
from pclora_lab.nn.metadata import pretrained_cfg_of
from pclora_lab.quiet import quiet

__all__ = ["check_image_size", "image_settings", "refuse_side"]

_FILE = "preprocessor_config.json"
_USUAL_SIDE = 224
# Height and width of the pictures on which a processor is compared.
_ODD_SIZES = (37, 53), (61, 41)


def image_settings(
    name: str, config: PreTrainedConfig, pretrained: bool, side: int | None = None
) -> dict[str, Any]:
    """timm's words for the input, and the values of the image processor that makes it.

    Args:
        name: hub name or folder.
        config: of the model.
        pretrained: False takes what a folder has, and else the sizes of the configuration.
        side: of a square to squash every picture to, in pixels; None keeps the model's own size.

    Raises:
        ValueError: no processor where there must be one, or one that can't be followed.
    """
    channels, height, width = _shape(config) if side is None else (_shape(config)[0], side, side)
    settings = {
        "input_size": (channels, height, width),
        "mean": (0.5,) * channels,
        "std": (0.5,) * channels,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "num_classes": config.num_labels,
        "classifier": "classifier",
    }
    if not pretrained and not (Path(name) / _FILE).is_file():
        return settings
    try:
        with plain_errors(name), quiet():
            processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except (ValueError, ConnectionError) as error:
        raise ValueError(
            f"{name!r} has no {_FILE} that can be read, so size, mean and deviation of its pixels "
            f"are not known: save the model's image processor there, "
            f"processor.save_pretrained(folder) ({error})"
        ) from error
    if side is not None:
        processor = _of_size(processor, side)
    with torch.device("cpu"):  # also where a model is only described
        settings |= processor_settings(processor, channels, name)
    return {**settings, "processor": processor_values(processor)}


def _of_size(processor: BaseImageProcessor, side: int) -> BaseImageProcessor:
    """The same for another size, without a crop."""
    size = {"height": side, "width": side}
    changed = {"do_resize": True, "size": size, "do_center_crop": False, "crop_size": None}
    return build_processor({**processor_values(processor), **changed})


def _shape(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Of the input; models of images and texts keep it with the image's side."""
    described = getattr(config, "vision_config", config)
    size = getattr(described, "image_size", None) or _USUAL_SIDE
    height, width = (size, size) if isinstance(size, int) else size
    return getattr(described, "num_channels", 3), height, width


def refuse_side(name: str) -> NoReturn:
    """Refuse another size of the input, where positions are learned for the model's own."""
    raise ValueError(
        f"{short_name(name)!r} is a transformers model, whose input size is fixed: leave img_size "
        "out, or take the same model from timm"
    )


def check_image_size(model: nn.Module, name: str) -> None:
    """Refuse an image processor whose pictures the model can't take.

    Raises:
        ValueError: names both sizes.
    """
    try:
        try_input(model)
    except (ValueError, RuntimeError, AssertionError) as error:
        _, height, width = pretrained_cfg_of(model)["input_size"]
        raise ValueError(
            f"the image processor of {name!r} gives pictures of {height}×{width} pixels, which "
            f"{type(model).__name__} can't take ({error}): set size and crop_size in its {_FILE} "
            f"to the model's image_size"
        ) from error


def processor_values(processor: BaseImageProcessor) -> dict[str, Any]:
    """A processor as plain values: its class by name and its options, no code, no place."""
    values = json.loads(processor.to_json_string())
    return {key: value for key, value in values.items() if key not in ("auto_map", "_name_or_path")}


def processor_settings(processor: BaseImageProcessor, channels: int, source: str) -> dict[str, Any]:
    """timm's words for what comes after resizing: ``(x/255 − mean) / std``, and the size.

    Args:
        processor: of transformers.
        channels: that the model takes.
        source: of the model, for errors.

    Raises:
        ValueError: the processor does more than that, or its pictures differ in size.
    """
    mean, std = _affine(processor, channels)
    shapes, gaps = set(), []
    for height, width in _ODD_SIZES:
        shape, gap = _gap(processor, _noise(height, width, channels), mean, std)
        shapes.add(shape)
        gaps.append(gap)
    if len(shapes) > 1:
        sizes = " and ".join("×".join(map(str, shape[1:])) for shape in sorted(shapes))
        raise ValueError(
            f"the image processor of {source!r} gives pictures of different sizes ({sizes}), which "
            "make no batch: set do_center_crop and crop_size, or size with height and width, in "
            "its preprocessor_config.json"
        )
    if max(gaps) > 1e-3:
        raise ValueError(
            f"the image processor of {source!r}, a {type(processor).__name__}, does more than "
            "resize, crop, rescale and normalize, and no more is done here: take a model whose "
            "processor does only that"
        )
    return {"input_size": shapes.pop(), "mean": tuple(mean.tolist()), "std": tuple(std.tolist())}


def _gap(
    processor: BaseImageProcessor, image: Image.Image, mean: Tensor, std: Tensor
) -> tuple[tuple[int, ...], float]:
    """Shape of what the processor makes of a picture, and how far we are from it."""
    wanted = processor(image, return_tensors="pt")["pixel_values"][0]
    try:
        pixels = resize_by(processor)(image)
    except TypeError:  # it calculates with bytes where it is told to leave them
        return tuple(wanted.shape), math.inf
    if pixels.dtype != torch.uint8 or pixels.shape != wanted.shape:
        return tuple(wanted.shape), math.inf
    own = (pixels / 255 - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    return tuple(wanted.shape), float((own - wanted).abs().max())


def _affine(processor: BaseImageProcessor, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation for pixels in 0 … 1, in double precision."""

    def per_channel(value: Any) -> Tensor:
        found = torch.as_tensor(value, dtype=torch.float64, device="cpu").flatten()
        return found.expand(channels) if len(found) == 1 else found

    mean, std = per_channel(0.0), per_channel(1.0)
    if getattr(processor, "do_normalize", False):
        mean, std = per_channel(processor.image_mean), per_channel(processor.image_std)
    factor = 255 * processor.rescale_factor if getattr(processor, "do_rescale", False) else 255
    return mean / factor, std / factor


def _noise(height: int, width: int, channels: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert("L" if channels == 1 else "RGB")
