"""Whether a class from another package is a task that can be trained, measured and compared."""

from pclora_lab.plugins import PluginError, require_class, require_defined
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.metrics import TaskMetric

__all__ = ["check_task"]

_VERBS = ("suits", "load_model", "loss", "imitation_loss", "scorer")


def check_task(name: str, loaded: object) -> Task:
    """An object of what an entry point gave, if it is a task.

    Args:
        name: the entry point's name.
        loaded: what it points to.

    Raises:
        PluginError: what is missing, and what to add.
    """
    task = require_class(loaded, Task, "task", example="Denoising")
    require_defined(name, task, Task, _VERBS, ("title", "summary", "metrics"))
    if not all(isinstance(metric, TaskMetric) for metric in task.metrics):
        raise PluginError(
            f"metrics of {task.__name__} are {task.metrics!r}",
            "Describe each with pclora_lab.tasks.TaskMetric",
        )
    return task()
