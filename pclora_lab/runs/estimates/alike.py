"""Which finished runs say something about a run that one thinks of."""

import dataclasses
from typing import Any

from pclora_lab.fields import Part, values_of
from pclora_lab.runs.durable.places import settled
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
    if wanted.precision == "auto":
        run = dataclasses.replace(run, precision="auto")
    return _without(run, but) == _without(wanted, but)


def _without(config: RunConfig, but: tuple[str, ...]) -> RunConfig:
    """The same with these settings at their default."""
    names = {"seed", *values_of(config, Part.OBSERVES), *but}
    method = dataclasses.replace(config.method, **_usual(config.method, but))
    # The same file may have been named from another folder.
    return dataclasses.replace(settled(config), **{**_usual(config, names), "method": method})


def _usual(config: Any, names: set[str] | tuple[str, ...]) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(config)}
    return {name: getattr(type(config), name) for name in fields.intersection(names)}
