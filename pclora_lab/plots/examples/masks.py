"""Classes of pixels as pictures: the truth, what two models say, and where these differ."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product

import numpy as np
from torch import Tensor

from pclora_lab.plots.palette import HUES
from pclora_lab.runs.replay import Predictions

__all__ = ["MASK_SIDES", "class_color", "painted_masks", "shown_classes"]

MASK_SIDES = ("truth", "teacher", "student", "they differ")

_UNLABELED = 255
_SAME, _OTHER = (225, 225, 225), (184, 71, 0)
# Of class 0, mostly the background: not the black that figures turn white on a dark page.
_BLACK = (8, 8, 8)
# As they are on a dark page.
_FIRST = ("blue", "orange", "green", "vermillion", "sky", "yellow", "purple", "violet")
_LEVELS = (0, 48, 88, 120, 152, 184, 216, 255)
_DARKEST = 0.4
_FROM_LINEAR = np.array(
    [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
)
_TO_LAB = np.array(
    [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
)


def class_color(number: int) -> tuple[int, int, int]:
    """Red, green and blue of a class: black, the palette's eight, then those most unlike these.

    Example:
        >>> class_color(0), class_color(1), class_color(10) == class_color(11)
        ((8, 8, 8), (0, 114, 178), False)
    """
    red, green, blue = _class_colors()[number].tolist()
    return red, green, blue


@cache
def _class_colors() -> np.ndarray:
    """Each new one is as far as can be from all before it, and from the white of no class."""
    hues = [HUES[name].dark for name in _FIRST]
    fixed = [_BLACK, *(tuple(bytes.fromhex(hue[1:])) for hue in hues)]
    grid = np.array([*product(_LEVELS, repeat=3)], dtype=np.uint8)
    places = _oklab(grid)
    # Darker ones would not be seen on the background.
    grid, places = grid[places[:, 0] > _DARKEST], places[places[:, 0] > _DARKEST]
    used = _oklab(np.array([*fixed, (255, 255, 255)]))
    nearest = np.linalg.norm(places[:, None] - used, axis=-1).min(axis=1)
    colors = [*fixed]
    while len(colors) < min(_UNLABELED, len(fixed) + len(grid)):
        best = int(nearest.argmax())
        colors.append(tuple(grid[best].tolist()))
        nearest = np.minimum(nearest, np.linalg.norm(places - places[best], axis=-1))
        nearest[best] = -1.0
    return np.array([*colors, (255, 255, 255)], dtype=np.uint8)


def _oklab(colors: np.ndarray) -> np.ndarray:
    """Where colors lie for the eye, in the space of B. Ottosson (2020), ``(colors, 3)``."""
    shares = colors / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _FROM_LINEAR.T) @ _TO_LAB.T


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
    found = _classes(predictions, index)
    if found is None:
        return None
    truth, teacher, student = (classes.cpu().numpy() for classes in found)
    where = np.array([_SAME, _OTHER], dtype=np.uint8)[(teacher != student).astype(int)]
    return [*(_class_colors()[classes] for classes in (truth, teacher, student)), where]


def _classes(predictions: Predictions, index: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """The right classes of an example's pixels, and those that teacher and student say."""
    task, target = predictions.task, predictions.labels[index]
    of_teacher = task.pixel_classes(predictions.teacher[index], target)
    of_student = task.pixel_classes(predictions.student[index], target)
    if of_teacher is None or of_student is None:
        return None
    return of_teacher[1], of_teacher[0], of_student[0]


def shown_classes(
    predictions: Predictions, indices: Iterable[int], names: Sequence[str], most: int = 24
) -> dict[str, tuple[int, int, int]]:
    """The colors of the classes that are in some of the pictures, by name, as for a legend.

    Args:
        predictions: of both models.
        indices: of the examples that are shown.
        names: of all classes.
        most: colors beyond these are not told; those with most pixels are.

    Example:
        >>> import torch
        >>> from pclora_lab.tasks.segmentation import SEMANTIC_SEGMENTATION as task
        >>> said = torch.eye(3)[torch.tensor([[[0, 2]]])].movedim(-1, 1)
        >>> found = Predictions(torch.tensor([[[0, 255]]]), said, said, task)
        >>> shown_classes(found, [0], ["wall", "sky", "car"])
        {'wall': (8, 8, 8), 'car': (230, 159, 0)}
    """
    found = [_classes(predictions, index) for index in indices]
    numbers = [classes.flatten().cpu() for three in found if three for classes in three]
    if not numbers:
        return {}
    counts = np.bincount(np.concatenate(numbers), minlength=_UNLABELED)[: len(names)]
    largest = np.argsort(-counts, kind="stable")[:most].tolist()
    chosen = sorted(number for number in largest if counts[number])
    return {names[number]: class_color(number) for number in chosen}
