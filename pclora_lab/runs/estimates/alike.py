"""Which finished runs say something about a run that one thinks of."""

import dataclasses
from typing import Any

from pclora_lab.fields import Part, values_of
from pclora_lab.runs.durable.places import whole_data, whole_model
from pclora_lab.tasks.registry import key_facts
from pclora_lab.training.config import RunConfig

__all__ = ["comparable"]


def comparable(run: RunConfig, wanted: RunConfig, *but: str) -> bool:
    """Whether two runs differ in nothing but the seed, in what only observes, and in some settings.

    Args:
        run: as a finished run has kept it: ``auto`` may have become a precision.
        wanted: that one thinks of.
        but: settings of the run or of its method that do not count.

    Example:
        >>> comparable(RunConfig(seed=1, precision="float32"), RunConfig())
        True
        >>> comparable(RunConfig(steps=5), RunConfig()), comparable(
        ...     RunConfig(steps=5), RunConfig(), "steps")
        (False, True)
    """
    skipped = {"seed", "model", "data", "method", "task", *values_of(wanted, Part.OBSERVES), *but}
    if wanted.precision == "auto":
        skipped.add("precision")
    one, other = run.method, wanted.method
    return (
        type(one) is type(other)
        and _same(one, other, set(but))
        and _same(run, wanted, skipped)
        # A task that is named may be the one that is guessed otherwise.
        and key_facts(run.task) == key_facts(wanted.task)
        # The same file may have been named from another folder.
        and whole_model(run.model) == whole_model(wanted.model)
        and whole_data(run.data) == whole_data(wanted.data)
    )


def _same(one: Any, other: Any, skipped: set[str]) -> bool:
    names = (field.name for field in dataclasses.fields(one) if field.name not in skipped)
    return all(getattr(one, name) == getattr(other, name) for name in names)
