"""A few pictures of a data set in one, each with its mask below it where it has one."""

import io

import numpy as np
from PIL import Image

from pclora_lab.data.splits import Split
from pclora_lab.plots.examples.masks import class_color

__all__ = ["sample_png"]

_UNLABELED = 255

_MOST, _SIDE, _GAP = 6, 36, 3


def sample_png(split: Split) -> bytes:
    """The first pictures of a split side by side, as a PNG.

    Args:
        split: of pictures.

    Example:
        >>> from pclora_lab.data import load_data
        >>> Image.open(io.BytesIO(sample_png(load_data("digits").train))).size
        (231, 36)
    """
    count = min(_MOST, len(split))
    rows = [[split.examples[index].convert("RGB") for index in range(count)]]
    if split.masks is not None:
        masks = (np.asarray(split.masks[index]) for index in range(count))
        rows.append([Image.fromarray(_painted(mask)) for mask in masks])
    each = _SIDE + _GAP
    # Nothing between the pictures: the page shows through.
    sheet = Image.new("RGBA", (each * count - _GAP, each * len(rows) - _GAP), (0, 0, 0, 0))
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            small = picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            sheet.paste(small, (each * column, each * row))
    written = io.BytesIO()
    sheet.save(written, format="png")
    return written.getvalue()


def _painted(mask: np.ndarray) -> np.ndarray:
    """Classes as colors, uint8 ``(height, width, 3)``; what is not labeled is white."""
    colors = np.full((256, 3), 255, dtype=np.uint8)
    for number in np.unique(mask[mask != _UNLABELED]).tolist():
        colors[number] = class_color(number)
    return colors[mask]
