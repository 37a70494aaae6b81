"""A task's metrics on any split; the accuracy of a saved model on a data set's test split."""

from contextlib import closing, nullcontext

from accelerate import Accelerator
from torch import nn

from pclora_lab.data.batches import Batches
from pclora_lab.data.feeding.ahead import fed
from pclora_lab.data.loading import load_data
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.nn.forward import call_model, eval_mode
from pclora_lab.nn.layers.finite import NotFinite, where_not_finite
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.classification import ACCURACY, IMAGE_CLASSIFICATION
from pclora_lab.tasks.metrics import Scorer

__all__ = ["accuracy", "evaluate", "scored", "scores_of", "test_accuracy"]


def evaluate(
    task: Task,
    model: nn.Module,
    batches: Batches,
    accelerator: Accelerator | None = None,
    *,
    limit: int | None = None,
    batch_size: int = 256,
) -> dict[str, float]:
    """The task's metrics by key, in eval mode; the model's mode is restored.

    Args:
        task: says what is measured.
        model: with the task's head.
        batches: the split to read.
        accelerator: precision; None computes as the model is.
        limit: only so many evenly spread examples.
        batch_size: examples at once.

    Raises:
        NotFinite: outputs are NaN or infinite; says where that begins.
    """
    scorer = scored(task, model, batches, accelerator, limit=limit, batch_size=batch_size)
    return scores_of(task, scorer)


def scores_of(task: Task, scorer: Scorer) -> dict[str, float]:
    """The task's metrics by key, of all that a scorer has seen."""
    scores = scorer.compute()
    return {metric.key: float(scores[metric.key]) for metric in task.metrics}


def scored(
    task: Task,
    model: nn.Module,
    batches: Batches,
    accelerator: Accelerator | None = None,
    *,
    limit: int | None = None,
    batch_size: int = 256,
) -> Scorer:
    """The task's scorer after it has seen the split; see :func:`evaluate`."""
    device = next(model.parameters()).device
    precision = accelerator.autocast if accelerator is not None else nullcontext
    scorer = task.scorer()
    feed = fed(batches, batches.for_scoring(batch_size, limit), device)
    with eval_mode(model), precision(), closing(feed):
        for inputs, targets in feed:
            outputs = call_model(model, inputs)
            scorer.update(outputs, targets)
            if not bool(outputs.isfinite().all()):
                raise NotFinite(
                    f"the logits of {type(model).__name__} are NaN or infinite: "
                    f"{where_not_finite(model, inputs)}"
                )
    return scorer


def accuracy(
    model: nn.Module,
    batches: Batches,
    accelerator: Accelerator | None = None,
    *,
    limit: int | None = None,
    batch_size: int = 256,
) -> float:
    """Top-1 accuracy of a classifier, in [0, 1]; see :func:`evaluate`."""
    scores = evaluate(
        IMAGE_CLASSIFICATION, model, batches, accelerator, limit=limit, batch_size=batch_size
    )
    return scores[ACCURACY.key]


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
