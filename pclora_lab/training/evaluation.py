"""Accuracy: of any model on any split, and of a saved model on a data set's test split."""

from contextlib import closing, nullcontext

import torch
from accelerate import Accelerator
from torch import nn

from pclora_lab.data.batches import Batches
from pclora_lab.data.feeding.ahead import fed
from pclora_lab.data.loading import load_data
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.nn.forward import call_model, eval_mode
from pclora_lab.nn.layers.finite import NotFinite, where_not_finite

__all__ = ["accuracy", "test_accuracy"]


def accuracy(
    model: nn.Module,
    batches: Batches,
    accelerator: Accelerator | None = None,
    *,
    limit: int | None = None,
    batch_size: int = 256,
) -> float:
    """Top-1 accuracy in [0, 1], in eval mode; the model's mode is restored.

    Args:
        model: any classifier.
        batches: the split to read.
        accelerator: precision; None computes as the model is.
        limit: only so many evenly spread examples.
        batch_size: examples at once.

    Raises:
        NotFinite: logits are NaN or infinite; says where that begins.
    """
    device = next(model.parameters()).device
    precision = accelerator.autocast if accelerator is not None else nullcontext
    correct = seen = 0
    feed = fed(batches, batches.for_scoring(batch_size, limit), device)
    with eval_mode(model), precision(), closing(feed):
        for inputs, labels in feed:
            logits = call_model(model, inputs)
            # Read together, so that a GPU is waited for once.
            facts = torch.stack([(logits.argmax(-1) == labels).sum(), logits.isfinite().all()])
            right, is_finite = facts.tolist()
            if not is_finite:
                raise NotFinite(
                    f"the logits of {type(model).__name__} are NaN or infinite: "
                    f"{where_not_finite(model, inputs)}"
                )
            correct += right
            seen += len(labels)
    return correct / seen


def test_accuracy(model: nn.Module, data: str, *, batch_size: int = 256) -> float:
    """Top-1 accuracy in [0, 1] on the test split of a data set.

    Args:
        model: loaded by name, or from :func:`pclora_lab.from_pretrained`: it knows its
            preprocessing.
        data: see :func:`pclora_lab.load_data`.
        batch_size: examples at once.
    """
    batches = preprocessing_of(model).batches(load_data(data).test)
    return accuracy(model, batches, batch_size=batch_size)


# pytest would take the name for a test.
vars(test_accuracy)["__test__"] = False
