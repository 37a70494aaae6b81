"""Images and their masks as a model of pixels takes them: what moves one moves the other."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pclora_lab.data.images import ImageBatches, Preprocessing, build_processor, resize_by
from pclora_lab.data.segmentation.masks import UNLABELED
from pclora_lab.data.splits import Split
from pclora_lab.nn.forward import on_device

__all__ = ["MaskBatches"]


class _Masks(ImageBatches):
    """Masks alone, one channel of class numbers."""

    def __init__(self, split: Split, preprocessing: Preprocessing) -> None:
        super().__init__(split, replace(preprocessing, processor=None))
        if preprocessing.processor is not None:
            self._to_bytes = followed(json.loads(preprocessing.processor))


def followed(values: dict[str, Any]) -> Callable[[Image.Image], Tensor]:
    """A function that moves a mask as an image processor moves its image.

    Args:
        values: of the processor, one of transformers' own that resizes and crops.

    Returns:
        From a mask to uint8 ``(1, height, width)``.
    """
    resize = resize_by(build_processor({**values, "resample": int(Image.Resampling.NEAREST)}))

    def move(mask: Image.Image) -> Tensor:
        # Upside down, because what a crop adds is 0 there, and then 255: no class.
        picture = Image.fromarray(UNLABELED - np.asarray(mask)).convert("RGB")
        return UNLABELED - resize(picture)[:1]

    return move


class MaskBatches(ImageBatches):
    """Images ``(batch, channels, height, width)`` with masks ``(batch, height, width)``.

    A mask is resized and cropped as its image is, but by nearest neighbor: between classes 2 and 4
    there is no class 3. What a crop adds beside the picture is not labeled. Where the model has an
    image processor of transformers, the masks go through the same one.

    Args:
        split: with masks.
        preprocessing: the model's.

    Raises:
        ValueError: a split without masks.
    """

    def __init__(self, split: Split, preprocessing: Preprocessing) -> None:
        if split.masks is None:
            raise ValueError("these data have no masks: read them for semantic-segmentation")
        super().__init__(split, preprocessing)
        _, height, width = preprocessing.input_size
        # timm fills what it pads with the mean: with 255, which is no class.
        nearest = replace(
            preprocessing, input_size=(1, height, width), interpolation="nearest", mean=(1.0,),
            std=(1.0,),
        )  # fmt: skip
        self._masks = _Masks(Split(split.masks, split.labels), nearest)

    def masks(self, indices: Tensor) -> Tensor:
        """uint8 class numbers ``(batch, height, width)`` in the model's size; 255 for none."""
        return self._masks.raw(indices).squeeze(1)

    def batch(
        self, indices: Tensor, device: torch.device | str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Normalized images, and int64 class numbers ``(batch, height, width)``."""
        return self.begun(indices)(device)

    def begun(
        self, indices: Tensor
    ) -> Callable[[torch.device | str | None], tuple[Tensor, Tensor]]:
        """Decode both; copying and normalizing is left, and bytes travel to the device."""
        pixels, masks = self.raw(indices), self.masks(indices)

        def rest(device: torch.device | str | None) -> tuple[Tensor, Tensor]:
            normalized = self.preprocessing.normalize(on_device(pixels, device))
            return normalized, on_device(masks, device).long()

        return rest
