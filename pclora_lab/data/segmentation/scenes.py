"""Drawn scenes: handwritten digits on a canvas, where every pixel's class is known."""

import numpy as np
from PIL import Image

from pclora_lab.data.account import Account, Tally
from pclora_lab.data.loading import load_data
from pclora_lab.data.splits import LabeledData, Split

__all__ = ["digit_scenes"]

_SIDE = 32
_SCENES = {"train": 600, "validation": 150, "test": 150}
_DIGITS = (3, 5)
# Of 255; fainter strokes of a digit count as background.
_INK = 96


def digit_scenes(seed: int = 0, sizes: tuple[int, int] = (10, 16)) -> LabeledData:
    """Scenes of 3 to 5 of scikit-learn's digits on 32×32 pixels; a later one covers an earlier one.

    The digits of test scenes are in no training scene: each split draws from its own part of
    ``digits``.

    Args:
        seed: of what is drawn, where, and how large.
        sizes: side of the smallest digit and of the largest, in pixels.

    Raises:
        ValueError: sizes in another order, or larger than the scene.

    Example:
        >>> scenes = digit_scenes()
        >>> scenes.num_classes, scenes.class_names[:3], scenes.train.examples[0].size
        (11, ('background', '0', '1'), (32, 32))
    """
    small, large = sizes
    if not 1 <= small <= large <= _SIDE:
        raise ValueError(
            f"sizes are {sizes}: the smallest digit comes first, and none is larger than the scene "
            f"of {_SIDE} px"
        )
    digits = load_data("digits")
    generator = np.random.default_rng(seed)
    splits = {
        name: _drawn(getattr(digits, name), count, sizes, generator)
        for name, count in _SCENES.items()
    }
    total = sum(_SCENES.values())
    account = Account(Tally(0, 0), Tally(0, 0), Tally(total, total))
    names = ("background", *digits.class_names)
    return LabeledData(
        "digit_scenes", "image", splits["train"], splits["validation"], splits["test"], names,
        account=account,
    )  # fmt: skip


def _drawn(
    digits: Split, count: int, sizes: tuple[int, int], generator: np.random.Generator
) -> Split:
    pairs = [_scene(digits, sizes, generator) for _ in range(count)]
    images, masks = ([Image.fromarray(pair[part]) for pair in pairs] for part in (0, 1))
    return Split(images, np.zeros(count, dtype=np.int64), masks)


def _scene(
    digits: Split, sizes: tuple[int, int], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and their classes, each uint8 ``(32, 32)``."""
    pixels, classes = (np.zeros((_SIDE, _SIDE), dtype=np.uint8) for _ in range(2))
    for _ in range(generator.integers(*_DIGITS, endpoint=True)):
        which = int(generator.integers(len(digits)))
        size = int(generator.integers(*sizes, endpoint=True))
        top, left = generator.integers(0, _SIDE - size, size=2, endpoint=True)
        digit = digits.examples[which].resize((size, size), Image.Resampling.BILINEAR)
        strokes = np.asarray(digit)
        place = np.s_[top : top + size, left : left + size]
        is_ink = strokes >= _INK
        pixels[place][is_ink] = strokes[is_ink]
        classes[place][is_ink] = digits.labels[which] + 1
    return pixels, classes
