"""Which tasks there are: those of this package, and those that other packages add.

A new one here is a file of its own and a line in :data:`TASKS`; elsewhere it is an entry point of
the group ``pclora_lab.tasks``, which names the class.
"""

from collections.abc import Mapping
from typing import Any

from pclora_lab.plugins import Registry
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION
from pclora_lab.tasks.language.causal import LANGUAGE_MODELING
from pclora_lab.tasks.language.masked import MASKED_LANGUAGE_MODELING
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.tasks.segmentation import SEMANTIC_SEGMENTATION
from pclora_lab.tasks.targets.multi_label import MULTI_LABEL_CLASSIFICATION
from pclora_lab.tasks.targets.regression import REGRESSION
from pclora_lab.tasks.targets.tokens import TOKEN_CLASSIFICATION
from pclora_lab.tasks.task_checks import check_task

__all__ = ["BUILT_IN", "TASKS", "key_facts", "metrics_of", "named_task", "task_of"]

# In the order in which a task is looked for where a configuration names none.
BUILT_IN = (
    IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION, SEMANTIC_SEGMENTATION, LANGUAGE_MODELING,
    REGRESSION, MULTI_LABEL_CLASSIFICATION, TOKEN_CLASSIFICATION,
    MASKED_LANGUAGE_MODELING,
)  # fmt: skip

TASKS: Registry[Task] = Registry(
    "pclora_lab.tasks", "task", {task.name: task for task in BUILT_IN}, check_task
)

# Of a result whose task is not installed here and which does not say what it measured.
_UNKNOWN = (TaskMetric("score", "score"),)


def named_task(name: str | None) -> Task:
    """The task of a name; without one, that of the runs from before there were tasks.

    Raises:
        ValueError: unknown; lists those there are, or says why it was left out.

    Example:
        >>> named_task(None).ranking.key, named_task("text-classification").things
        ('accuracy', 'texts')
    """
    return IMAGE_CLASSIFICATION if name is None else TASKS.require(name)


def key_facts(name: str | None) -> dict[str, Any]:
    """What of a task is in the key of a kept teacher; see :meth:`Task.key_facts`."""
    return named_task(name).key_facts()


def task_of(facts: Mapping[str, Any]) -> Task | None:
    """The task that a result or a config names; None where it is not installed here.

    One from before there were tasks classifies what it says it has read.

    Example:
        >>> task_of({"input": "text"})
        <task text-classification>
    """
    name = facts.get("task")
    if name is None:
        told = (task for task in BUILT_IN if task.input == facts.get("input"))
        return next(told, IMAGE_CLASSIFICATION)
    # A JSON file may hold anything where a name should stand.
    return TASKS[name] if isinstance(name, str) and name in TASKS else None


def metrics_of(facts: Mapping[str, Any]) -> tuple[TaskMetric, ...]:
    """What a result or a config says that its run measures; the first one ranks.

    Without a task it is classification's. That of a package that is not installed here is read from
    the result's own descriptions.

    Args:
        facts: ``result.json`` or ``config.json``, as read.

    Raises:
        ValueError: ``metrics`` in it are no descriptions.

    Example:
        >>> [metric.key for metric in metrics_of({"accuracy": 0.9})]
        ['accuracy']
        >>> told = {"task": "far-away", "metrics": [{"key": "psnr", "label": "PSNR"}]}
        >>> [metric.label for metric in metrics_of(told)]
        ['PSNR']
    """
    if (task := task_of(facts)) is not None:
        return task.metrics
    told = facts.get("metrics")
    if not isinstance(told, list):
        return _UNKNOWN
    return tuple(map(TaskMetric.from_dict, told)) or _UNKNOWN
