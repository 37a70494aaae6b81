"""The settings of a run that are not their defaults, as people call them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pclora_lab.fields import options_of
from pclora_lab.methods.registry import METHODS
from pclora_lab.plots.report.facts import options_in
from pclora_lab.training.config import RunConfig
from pclora_lab.wording import brief

__all__ = ["Setting", "changed_settings"]

_LONGEST_VALUE = 160
# They stand elsewhere in the report, or say where something is on this machine; the precision that
# "auto" stood for is written back into the config.
_TOLD_ELSEWHERE = ("model", "data", "method", "device", "precision", "seed", "steps")


class Setting(NamedTuple):
    """A setting as people call it, its name in a config, and its value as people read it."""

    label: str
    name: str
    value: str


def changed_settings(config: Mapping[str, Any]) -> list[Setting]:
    """Every setting that a run without any flag would have otherwise.

    Args:
        config: as it was written; keys that this version does not know are left out.

    Example:
        >>> found = changed_settings(RunConfig(batch_size=16, split_qkv=True).to_dict())
        >>> [tuple(setting) for setting in found]
        [('split q, k, v', 'split_qkv', 'yes'), ('batch size', 'batch_size', '16')]
    """
    given = options_in(config)
    name = str(given.get("name", "pclora"))
    defaults = RunConfig()
    own: object = defaults.method
    if name != defaults.method.name:
        own = METHODS[name].Config() if name in METHODS else None
    rate = _text(getattr(own, "default_lr", None))
    found = _plain(given) if own is None else _changed(given, own)
    others = _changed(config, defaults, skip=_TOLD_ELSEWHERE)
    return found + [other for other in others if (other.name, other.value) != ("lr", rate)]


def _changed(
    values: Mapping[str, Any], defaults: object, skip: tuple[str, ...] = ()
) -> list[Setting]:
    plain = defaults.to_dict()  # type: ignore[attr-defined]
    return [
        Setting(option.label, name, _text(values[name]))
        for name, option in options_of(defaults).items()
        if name in values and name not in skip and _text(values[name]) != _text(plain[name])
    ]


def _plain(values: Mapping[str, Any]) -> list[Setting]:
    """All that a method of another package was given."""
    return [Setting(str(n), "", _text(value)) for n, value in values.items() if n != "name"]


def _text(value: object) -> str:
    """A value as people read it; what stands in a file and what a config holds read the same.

    Example:
        >>> _text(None), _text(0.1), _text(("a", 1)), _text([["a", 1]])
        ('none', '0.1', 'a, 1', 'a: 1')
    """
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, list | tuple):
        inner = [
            f"{_text(part[0])}: {_text(part[1])}" if _is_pair(part) else _text(part)
            for part in value
        ]
        return brief(", ".join(inner), _LONGEST_VALUE)
    return brief(str(value), _LONGEST_VALUE)


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2
