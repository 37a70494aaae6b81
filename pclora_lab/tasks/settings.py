"""Which task a run is for, as a setting."""

from dataclasses import dataclass

from pclora_lab.data.reading.settings import ReadingSettings
from pclora_lab.fields import Part, option
from pclora_lab.tasks.registry import TASKS

__all__ = ["TaskSettings"]


def _check_task(value: object) -> object:
    return TASKS.require(value).name


@dataclass(frozen=True, kw_only=True)
class TaskSettings(ReadingSettings):
    """How data are read, and what is learned from them.

    Attributes:
        task: what is learned; None guesses from the data.
    """

    task: str | None = option(
        None, "text", "task", "what is learned, such as text-classification (none: guessed)",
        optional=True, hidden=True, parts=(Part.DENSE,), since=2, check=_check_task,
    )  # fmt: skip
