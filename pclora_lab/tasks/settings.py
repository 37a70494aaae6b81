"""Which task a run is for, as a setting."""

from dataclasses import dataclass

from pclora_lab.data.reading.settings import ReadingSettings
from pclora_lab.fields import Part, option
from pclora_lab.tasks.registry import BUILT_IN, TASKS

__all__ = ["TaskSettings"]


_NAMES = ", ".join(task.name for task in BUILT_IN)


def _check_task(value: object) -> object:
    return TASKS.require(value).name


@dataclass(frozen=True, kw_only=True)
class TaskSettings(ReadingSettings):
    """How data are read, and what is learned from them.

    Attributes:
        task: what is learned; None guesses from the data.
    """

    task: str | None = option(
        None, "text", "task", f"what is learned: {_NAMES} (none: as the data say)",
        optional=True, group="source", parts=(Part.DENSE,), since=2, check=_check_task,
    )  # fmt: skip
