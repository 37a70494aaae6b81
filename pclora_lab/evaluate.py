"""Accuracy: of any model on any split, and of a saved model on a data set's test split."""

from contextlib import nullcontext

from accelerate import Accelerator
from torch import nn

from pclora_lab.data import Pixels, Preprocessing, load_data
from pclora_lab.surgery import call_model, evaluating

__all__ = ["accuracy", "test_accuracy"]


def accuracy(
    model: nn.Module,
    pixels: Pixels,
    accelerator: Accelerator | None = None,
    *,
    limit: int | None = None,
    batch_size: int = 256,
) -> float:
    """Top-1 accuracy in [0, 1], in eval mode; the model's mode is restored.

    Args:
        model: any classifier.
        pixels: the split to read.
        accelerator: precision; None computes as the model is.
        limit: only so many evenly spread examples.
        batch_size: images at once.
    """
    device = next(model.parameters()).device
    precision = accelerator.autocast if accelerator is not None else nullcontext
    right = seen = 0
    with evaluating(model), precision():
        for rows in pixels.in_order(batch_size, limit):
            images, labels = pixels.batch(rows)
            images = pixels.preprocessing.normalise(images.to(device))
            guesses = call_model(model, images).argmax(-1)
            right += int((guesses == labels.to(device)).sum())
            seen += len(rows)
    return right / seen


def test_accuracy(model: nn.Module, data: str, *, batch_size: int = 256) -> float:
    """Top-1 accuracy in [0, 1] on the test split of a data set.

    Args:
        model: loaded by name, or from :func:`pclora_lab.load_compressed`: it knows its
            preprocessing.
        data: see :func:`pclora_lab.load_data`.
        batch_size: images at once.
    """
    return accuracy(
        model, Pixels(load_data(data).test, Preprocessing.of(model)), batch_size=batch_size
    )


# pytest would take the name for a test.
test_accuracy.__test__ = False
