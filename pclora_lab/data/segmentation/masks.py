"""A mask is a picture whose gray values, or palette numbers, are the class numbers of its pixels.

255 stands for a pixel without a class, as in PASCAL VOC, Cityscapes and ADE20K.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np
from PIL import Image

from pclora_lab.data.pictures import DecodedImages

__all__ = ["UNLABELED", "ClassMasks", "MaskError", "class_numbers"]

UNLABELED = 255


class MaskError(ValueError):
    """A picture that is no mask; the text continues "a row … "."""


def class_numbers(mask: Image.Image) -> np.ndarray:
    """The class of every pixel, uint8 ``(height, width)``.

    Of a picture with a palette these are the numbers and not the colors that they stand for. A
    gray picture that was saved as RGB is taken as gray.

    Raises:
        MaskError: a mask in color, or with numbers that are no classes.

    Example:
        >>> class_numbers(Image.new("P", (2, 1), 3)).tolist()
        [[3, 3]]
        >>> class_numbers(Image.new("RGB", (2, 1), "red"))
        Traceback (most recent call last):
        pclora_lab.data.segmentation.masks.MaskError: with a mask in color (RGB): \
save class numbers, as gray values or with a palette
    """
    values = np.asarray(mask)
    if values.ndim == 3:
        colors = values[..., : values.shape[-1] - (mask.mode in ("RGBA", "LA"))]
        if mask.mode not in ("RGB", "RGBA", "LA") or (colors != colors[..., :1]).any():
            raise MaskError(
                f"with a mask in color ({mask.mode}): save class numbers, as gray values or with "
                "a palette"
            )
        values = colors[..., 0]
    is_whole = np.issubdtype(values.dtype, np.integer) or values.dtype == bool
    if not is_whole or values.min(initial=0) < 0 or values.max(initial=0) > UNLABELED:
        raise MaskError(
            f"with a mask of numbers that are no classes (mode {mask.mode}): use whole numbers "
            f"from 0 to {UNLABELED - 1}, and {UNLABELED} for a pixel without a class"
        )
    return values.astype(np.uint8)


class ClassMasks(Sequence[Image.Image]):
    """Masks of a table column, decoded on access, as gray pictures of class numbers.

    Args:
        pictures: as they are stored.
    """

    def __init__(self, pictures: DecodedImages) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> "ClassMasks": ...
    def __getitem__(self, index: int | slice) -> "Image.Image | ClassMasks":
        if isinstance(index, slice):
            return self.take(index)
        return Image.fromarray(class_numbers(self.pictures[index]))

    def take(self, indices: np.ndarray | slice) -> "ClassMasks":
        """Some of them, in this order."""
        return ClassMasks(self.pictures.take(indices))

    def content(self, index: int) -> bytes:
        """A mask as it is stored."""
        return self.pictures.content(index)
