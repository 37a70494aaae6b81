"""Whether a class from another package is a task that can be trained, measured and compared."""

from pclora_lab.plugins import PluginError
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
    if not (isinstance(loaded, type) and issubclass(loaded, Task)):
        raise PluginError(
            f"{loaded!r} is no subclass of pclora_lab.tasks.Task",
            "Let the entry point name the task's class, such as package.module:Denoising",
        )
    missing = [verb for verb in _VERBS if getattr(loaded, verb) is getattr(Task, verb)]
    missing += [word for word in ("title", "summary", "metrics") if not getattr(loaded, word, None)]
    if missing:
        raise PluginError(
            f"{loaded.__name__} lacks {', '.join(missing)}",
            "Define what the base class leaves open",
        )
    if getattr(loaded, "name", None) != name:
        raise PluginError(
            f"{loaded.__name__}.name is {getattr(loaded, 'name', None)!r}, the entry point's name "
            f"is {name!r}",
            "Give both the same name",
        )
    if not all(isinstance(metric, TaskMetric) for metric in loaded.metrics):
        raise PluginError(
            f"metrics of {loaded.__name__} are {loaded.metrics!r}",
            "Describe each with pclora_lab.tasks.TaskMetric",
        )
    return loaded()
