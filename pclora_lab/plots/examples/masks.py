"""Classes of pixels as pictures: the truth, what two models say, and where these differ."""

import colorsys

import numpy as np
from torch import Tensor

from pclora_lab.plots.palette import CYCLE
from pclora_lab.runs.replay import Predictions

__all__ = ["MASK_SIDES", "class_color", "painted_masks"]

MASK_SIDES = ("truth", "teacher", "student", "they differ")

_NOTHING = (255, 255, 255)
_SAME, _OTHER = (225, 225, 225), (184, 71, 0)
# Turns of the color circle from one class to the next: no two of many come close.
_GOLDEN = 0.618034


def class_color(number: int) -> tuple[int, int, int]:
    """Red, green and blue of a class: the palette's first, then hues that are spread evenly.

    Example:
        >>> class_color(0), class_color(1), class_color(10) == class_color(11)
        ((0, 0, 0), (0, 114, 178), False)
    """
    if number == 0:
        return (0, 0, 0)
    if number <= len(CYCLE):
        color = CYCLE[number - 1]
        return (int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16))
    light = (0.45, 0.65, 0.8)[number % 3]
    red, green, blue = colorsys.hls_to_rgb(number * _GOLDEN % 1, light, 0.75)
    return (round(255 * red), round(255 * green), round(255 * blue))


def painted_masks(predictions: Predictions, index: int) -> list[np.ndarray] | None:
    """Four pictures, uint8 ``(height, width, 3)``, in the order of :data:`MASK_SIDES`.

    White is not labeled. In the last one, pixels of which teacher and student say different classes
    are vermillion.

    Args:
        predictions: of both models.
        index: of the example among them.

    Returns:
        None where the task has no classes of pixels.
    """
    task, target = predictions.task, predictions.labels[index]
    of_teacher = task.pixel_classes(predictions.teacher[index], target)
    of_student = task.pixel_classes(predictions.student[index], target)
    if of_teacher is None or of_student is None:
        return None
    (teacher, truth), (student, _) = of_teacher, of_student
    differs = (teacher != student).cpu().numpy()
    where = np.array([_SAME, _OTHER], dtype=np.uint8)[differs.astype(int)]
    return [*map(_painted, (truth, teacher, student)), where]


def _painted(classes: Tensor) -> np.ndarray:
    numbers = classes.cpu().numpy()
    colors = np.full((256, 3), 255, dtype=np.uint8)
    for number in np.unique(numbers).tolist():
        colors[number] = _NOTHING if number == 255 else class_color(number)
    return colors[numbers]
