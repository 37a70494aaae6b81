"""The task of a configuration and its data: named there, or guessed from what the data hold."""

from pclora_lab.data.account import DataError
from pclora_lab.data.cache import DataCache
from pclora_lab.data.splits import LabeledData
from pclora_lab.models.adapting import input_kind
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.registry import BUILT_IN, TASKS, named_task
from pclora_lab.tasks.settings import TaskSettings

__all__ = ["guessed_because", "pinned_name", "task_and_data"]


def task_and_data(
    config: TaskSettings, cache: DataCache, *, is_begun: bool = False
) -> tuple[Task, LabeledData]:
    """The data that a configuration names, and its task: named there, or guessed from the data.

    Args:
        config: of a run.
        cache: data of earlier runs in this process.
        is_begun: whether the run has begun. One that names no task then classifies, whatever else
            its data may be taken for by now: a run of any other task has written its name down.

    Raises:
        ValueError: data that can't be read, or that the named task can't learn from.
    """
    if config.task is not None:
        return _of_task(TASKS.require(config.task), config, cache)
    candidates = [task for task in BUILT_IN if not (is_begun and task.key_facts())]
    try:
        data = cache.data(config)
    except DataError as error:
        # Some data can't be read as classes, and say for which task they can.
        if error.task is None or is_begun:
            raise
        return _of_task(TASKS.require(error.task), config, cache)
    task = next((task for task in candidates if task.suits(data)), named_task(None))
    return _knowing(task, data, cache), data


def pinned_name(task: Task) -> str | None:
    """What a run writes down as its task where its configuration names none.

    Returns:
        The name; None for classification, as in the runs from before there were tasks, so that
        keys and settings of such runs stay what they were.
    """
    return task.name if task.key_facts() else None


def guessed_because(task: Task) -> str:
    """Which task was taken, and what speaks for it, in one line.

    Example:
        >>> from pclora_lab.tasks import IMAGE_CLASSIFICATION
        >>> guessed_because(IMAGE_CLASSIFICATION)
        'task: classification of images, as the data hold images with a class each'
    """
    return f"task: {task.title}, as the data hold {task.learns_from or task.things}"


def _of_task(task: Task, config: TaskSettings, cache: DataCache) -> tuple[Task, LabeledData]:
    data = task.data(config, cache)
    if not task.suits(data):
        raise ValueError(_contradiction(task, data, config))
    return _knowing(task, data, cache), data


def _knowing(task: Task, data: LabeledData, cache: DataCache) -> Task:
    """The same object for the same data, by which batches that were made are found again."""
    key = ("task", task.name, id(data))
    return cache.once(key, lambda: (data, task.of_data(data)))[1]


def _contradiction(task: Task, data: LabeledData, config: TaskSettings) -> str:
    """Who says what, where the named task is not what the data are for."""
    said = f"task is {task.name!r}, but {data.name!r} holds "
    others = [other for other in BUILT_IN if other.suits(data)]
    if others:
        said += f"{others[0].learns_from or others[0].things}, which speak for {others[0].name}"
        cure = "leave task out, or choose"
    else:
        said, cure = f"{said}{data.kind}s that it can't learn from", "choose"
    model = getattr(config, "model", None)
    reads = _reads(model) if isinstance(model, str) else ""
    beside = f", and the model {model!r} reads {reads}s" if reads else ""
    return f"{said}{beside}: {cure} other data"


def _reads(model: str) -> str:
    """What a model reads; empty where that can't be told."""
    from pclora_lab.models.loading import describe_model

    try:
        return input_kind(describe_model(model))
    except Exception:  # noqa: BLE001 - whatever is wrong with the model is not what is said here
        return ""
