"""The task of a configuration and its data: named there, or guessed from what the data hold."""

from pclora_lab.data.account import DataError
from pclora_lab.data.cache import DataCache
from pclora_lab.data.splits import LabeledData
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.registry import BUILT_IN, TASKS, named_task
from pclora_lab.tasks.settings import TaskSettings

__all__ = ["task_and_data"]


def task_and_data(config: TaskSettings, cache: DataCache) -> tuple[Task, LabeledData]:
    """The data that a configuration names, and its task: named there, or guessed from the data.

    Raises:
        ValueError: data that can't be read, or that the named task can't learn from.
    """
    if config.task is None:
        try:
            data = cache.data(config)
        except DataError as error:
            # Some data can't be read as classes, and say for which task they can.
            if error.task is None:
                raise
            return _of_task(TASKS.require(error.task), config, cache)
        return next((task for task in BUILT_IN if task.suits(data)), named_task(None)), data
    return _of_task(TASKS.require(config.task), config, cache)


def _of_task(task: Task, config: TaskSettings, cache: DataCache) -> tuple[Task, LabeledData]:
    data = task.data(config, cache)
    if not task.suits(data):
        others = [other.name for other in BUILT_IN if other.suits(data)]
        cure = f"leave task out for {others[0]}, or choose" if others else "choose"
        raise ValueError(
            f"task is {task.name!r}, but {data.name!r} holds {data.kind}s that it can't learn "
            f"from: {cure} other data"
        )
    return task, data
