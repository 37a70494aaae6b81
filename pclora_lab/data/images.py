"""Images as a vision model takes them: each is decoded once, and kept where there is room."""

import dataclasses
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from pclora_lab.data.batches import Batches
from pclora_lab.data.feeding.pixel_store import make_store
from pclora_lab.data.splits import Split, hash_of_texts
from pclora_lab.nn.forward import on_device
from pclora_lab.nn.metadata import pretrained_cfg_of

if TYPE_CHECKING:  # it takes longer to import than torch, and most pictures need none of it
    from transformers import BaseImageProcessor

__all__ = ["ImageBatches", "Preprocessing", "build_processor", "resize_by"]


@dataclass(frozen=True)
class Preprocessing:
    """What a model expects of an image, from its own configuration.

    ``processor`` is a transformers model's own image processor as JSON; it resizes and crops then.
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str = "center"
    processor: str | None = None

    @classmethod
    def of(cls, model: nn.Module, img_size: int | None = None) -> "Preprocessing":
        """Read timm's configuration; the size a model was built with overrides the side.

        Raises:
            ValueError: other numbers of means or deviations than channels.
        """
        config = resolve_data_config({}, model=model)
        channels, height, width = config["input_size"]
        for key in ("mean", "std"):
            if len(config[key]) not in (1, channels):
                raise ValueError(
                    f"{type(model).__name__} takes pictures of {channels} channels, but its "
                    f"configuration gives {len(config[key])} values for {key}: write one for each "
                    "channel into pretrained_cfg in its config.json"
                )
        img_size = img_size or getattr(model, "pclora_recipe", {}).get("img_size")
        if img_size is not None:
            height = width = img_size
        processor = pretrained_cfg_of(model).get("processor")
        return cls(
            (channels, height, width),
            tuple(config["mean"]),
            tuple(config["std"]),
            config["interpolation"],
            config["crop_pct"],
            config["crop_mode"],
            None if processor is None else json.dumps(processor, sort_keys=True),
        )

    def fingerprint(self) -> str:
        """A hash of all that turns a picture into the model's input."""
        return hash_of_texts(json.dumps(dataclasses.asdict(self), sort_keys=True))

    def facts(self) -> dict[str, Any]:
        """What the hash is of, by name."""
        processor = None if self.processor is None else json.loads(self.processor)
        return {**dataclasses.asdict(self), "processor": processor}

    def batches(self, split: Split) -> "ImageBatches":
        """A split as batches of such images."""
        return ImageBatches(split, self)

    def to_bytes(self) -> Callable[[Image.Image], Tensor]:
        """A function that resizes and crops as timm's evaluation or the model's processor does.

        It returns uint8 ``(channels, height, width)``; normalizing is left to the device.
        """
        wanted = "L" if self.input_size[0] == 1 else "RGB"
        if self.processor is not None:
            processor = build_processor(json.loads(self.processor))
            resize = resize_by(processor)
            # It may have a way of its own to lay transparent pictures on white.
            own = wanted == "RGB" and bool(getattr(processor, "do_convert_rgb", False))
            return lambda image: resize(
                _as_bytes(image) if own else _as_bytes(image).convert(wanted)
            )
        transform = create_transform(
            self.input_size,
            interpolation=self.interpolation,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            mean=self.mean,
            use_prefetcher=True,
        )
        return lambda image: transform(_as_bytes(image).convert(wanted)).reshape(self.input_size)

    def normalize(self, pixels: Tensor) -> Tensor:
        """uint8 to float: ``(x/255 − mean) / std``, on whatever device the pixels are."""
        mean, std = (_in_bytes(values, pixels.device) for values in (self.mean, self.std))
        return (pixels.float() - mean) / std


@cache
def _in_bytes(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Of 0 … 255, ``(channels, 1, 1)``; moved once, because every batch asks for them."""
    with torch.inference_mode(False):  # or no training could use what was first asked for there
        scaled = torch.tensor(values, device="cpu").view(-1, 1, 1) * 255
        return scaled.to(device)


def _as_bytes(image: Image.Image) -> Image.Image:
    """A 16-bit gray image as 8 bits; PIL's own conversion would cut off all that is above 255."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float64)
    top = 65535 if values.max(initial=0) > 255 else 255
    return Image.fromarray((values * (255 / top)).round().clip(0, 255).astype(np.uint8))


_PLAIN = {"do_rescale": False, "do_normalize": False, "return_tensors": "pt"}


def build_processor(values: dict[str, Any]) -> "BaseImageProcessor":
    """The processor of such values, one of transformers' own.

    Raises:
        ValueError: transformers has none of that name.
    """
    from transformers import BaseImageProcessor
    from transformers.models.auto import image_processing_auto as auto

    values = dict(values)
    name = str(values.pop("image_processor_type", ""))
    kind = auto.get_image_processor_class_from_name(name) if name.isidentifier() else None
    if not (isinstance(kind, type) and issubclass(kind, BaseImageProcessor)):
        raise ValueError(
            f"the image processor {name!r} is unknown to this version of transformers: update it"
        )
    return kind(**values)


def resize_by(processor: "BaseImageProcessor") -> Callable[[Image.Image], Tensor]:
    """A picture as the processor resizes and crops it: uint8 ``(channels, height, width)``."""
    return lambda image: processor(image, **_PLAIN)["pixel_values"][0]


class ImageBatches(Batches):
    """A split of images as batches of ``(batch, channels, height, width)``.

    Args:
        split: raw images and labels.
        preprocessing: the model's.
    """

    takes_work = True

    def __init__(self, split: Split, preprocessing: Preprocessing) -> None:
        super().__init__(torch.as_tensor(split.labels, device="cpu"))
        self.split, self.preprocessing = split, preprocessing
        self._store = make_store((len(split), *preprocessing.input_size))
        self._to_bytes = preprocessing.to_bytes()

    def inputs(self, indices: Tensor, device: torch.device | str | None = None) -> Tensor:
        """Normalized images; bytes travel to the device, a quarter of the floats."""
        return self.preprocessing.normalize(on_device(self.raw(indices), device))

    def begun(
        self, indices: Tensor
    ) -> Callable[[torch.device | str | None], tuple[Tensor, Tensor]]:
        """Decode; copying and normalizing is left."""
        pixels = self.raw(indices)

        def rest(device: torch.device | str | None) -> tuple[Tensor, Tensor]:
            normalized = self.preprocessing.normalize(on_device(pixels, device))
            return normalized, on_device(self.labels[indices], device)

        return rest

    def raw(self, indices: Tensor) -> Tensor:
        """uint8 images ``(batch, channels, height, width)`` in the model's size."""
        numbers = indices.numpy()
        if self._store is None:
            return torch.stack(self._decode(numbers))
        missing = self._store.missing(numbers)
        if len(missing):
            self._store.put(missing, torch.stack(self._decode(missing)))
        return self._store.get(indices)

    def _decode(self, indices: np.ndarray) -> list[Tensor]:
        def one(index: int) -> Tensor:
            return self._to_bytes(self.split.examples[index])

        if len(indices) < 16:
            with torch.device("cpu"):  # a default device of the caller's is not that of threads
                return [one(index) for index in indices]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return list(pool.map(one, indices))
