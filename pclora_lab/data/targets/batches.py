"""Batches whose targets are arrays with a row for each example."""

from typing import TYPE_CHECKING

import numpy as np

from pclora_lab.data.batches import Batches
from pclora_lab.data.splits import Split

if TYPE_CHECKING:  # see the caller
    from pclora_lab.data.images import Preprocessing
    from pclora_lab.data.texts import TextPreprocessing

__all__ = ["with_targets"]


def with_targets(split: Split, preprocessing: "Preprocessing | TextPreprocessing") -> Batches:
    """A split as batches of inputs and its targets ``(batch, …)``, in place of class numbers.

    Args:
        split: with an array of targets.
        preprocessing: the model's.
    """
    assert isinstance(split.targets, np.ndarray), "these data were read for another task"
    return preprocessing.batches(Split(split.examples, split.targets))
