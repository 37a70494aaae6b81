"""Images and their masks as a model of pixels takes them: what moves one moves the other."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pclora_lab.data.images import ImageBatches, Preprocessing
from pclora_lab.data.splits import Split
from pclora_lab.nn.forward import on_device

__all__ = ["MaskBatches"]


class MaskBatches(ImageBatches):
    """Images ``(batch, channels, height, width)`` with masks ``(batch, height, width)``.

    A mask is resized and cropped as its image is, but by nearest neighbor: between classes 2 and 4
    there is no class 3. What a crop adds beside the picture is not labeled.

    Args:
        split: with masks.
        preprocessing: the model's.

    Raises:
        ValueError: a split without masks, or a model with an image processor of its own, which may
            move the pixels in ways that a mask can't follow.
    """

    def __init__(self, split: Split, preprocessing: Preprocessing) -> None:
        if split.masks is None:
            raise ValueError("these data have no masks: read them for semantic-segmentation")
        if preprocessing.processor is not None:
            raise ValueError(
                "the model has an image processor of transformers, which masks can't follow yet: "
                "take a model of timm's, such as deit_tiny_patch16_224"
            )
        super().__init__(split, preprocessing)
        _, height, width = preprocessing.input_size
        # timm fills what it pads with the mean: with 255, which is no class.
        nearest = replace(
            preprocessing, input_size=(1, height, width), interpolation="nearest", mean=(1.0,),
            std=(1.0,),
        )  # fmt: skip
        self._masks = ImageBatches(Split(split.masks, split.labels), nearest)

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
