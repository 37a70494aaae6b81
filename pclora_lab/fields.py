"""Config fields that describe themselves: default, range, choices and help stand in one place.

A config is a frozen dataclass of such fields. Validation, the command line and the form in the lab
all read the same description, so none of them needs to know which config it belongs to."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Option", "check_number", "check_options", "option", "options_of", "parse_option"]

KINDS = ("rank", "schedule", "number", "whole", "choice", "switch", "text")


@dataclass(frozen=True)
class Option:
    """What a person needs to know to set one field.

    Attributes:
        kind: one of ``rank``, ``schedule``, ``number``, ``whole``, ``choice``, ``switch``,
            ``text``.
        label: short name with its symbol, as a form shows it.
        help: one line.
        low: smallest value of a number.
        high: largest value of a number.
        choices: allowed values of a choice.
        optional: whether None is allowed.
        noun: what an error calls a choice; the field's name where empty.
        step: how far one press of an arrow key moves it.
        hidden: not shown in the lab's form (settable from scripts and the command line).
        sizes: whether it changes how large the result is.
        check: returns a value in its canonical form or refuses it, where the kind does not say.
        parse: reads what was typed, or None to leave it to the kind.
    """

    kind: str
    label: str
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    optional: bool = False
    noun: str = ""
    step: float = 0.05
    hidden: bool = False
    sizes: bool = False
    check: Callable[[Any], Any] | None = None
    parse: Callable[[str], Any] | None = None


def option(default: Any, kind: str, label: str, help: str, **more: Any) -> Any:
    """A dataclass field with its description; see :class:`Option` for ``more``."""
    return dataclasses.field(
        default=default, metadata={"option": Option(kind, label, help, **more)}
    )


def options_of(config: type | object) -> dict[str, Option]:
    """The described fields of a config class or object, by field name.

    Example:
        >>> from pclora_lab.methods.pclora.config import PCLoRAConfig
        >>> options_of(PCLoRAConfig)["alpha"].high
        1
    """
    return {f.name: f.metadata["option"] for f in dataclasses.fields(config) if f.metadata}


def check_options(config: Any) -> None:
    """Validate every described field of a frozen dataclass; ranks and schedules are normalized.

    Raises:
        ValueError: the first value that is out of its range, with the range and a cure.
    """
    for name, described in options_of(config).items():
        value = getattr(config, name)
        if value is None and described.optional:
            continue
        if described.check is not None:
            checked = described.check(value)
        else:
            checked = _CHECKS[described.kind](name, value, described)
        object.__setattr__(config, name, checked)


def _number(name: str, value: object, described: Option) -> object:
    check_number(name, value, described.low, described.high, f" ({described.help})")
    return value


def _whole(name: str, value: object, described: Option) -> object:
    if isinstance(value, (Mapping, tuple)):
        raise ValueError(
            f"{name} is given by layer, which this method can't do: its {described.label} is the "
            f"same for all layers. Give one whole number of at least {described.low:g}, or choose "
            "a method that takes a rank for each layer, such as pclora"
        )
    fits = isinstance(value, int) and not isinstance(value, bool)
    if not fits or not described.low <= value <= described.high:
        bounds = f"at least {described.low:g}"
        if described.high < math.inf:
            bounds = f"{described.low:g} to {described.high:g}"
        raise ValueError(f"{name} is {value!r}: it must be a whole number of {bounds}")
    return value


def _choice(name: str, value: object, described: Option) -> object:
    if value not in described.choices:
        allowed = ", ".join(described.choices)
        raise ValueError(f"unknown {described.noun or name} {value!r}: use one of {allowed}")
    return value


def _switch(name: str, value: object, described: Option) -> object:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}: it must be True or False")
    return value


def _text(name: str, value: object, described: Option) -> object:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}: it must be a text ({described.help})")
    return value


_CHECKS = {
    "number": _number,
    "whole": _whole,
    "choice": _choice,
    "switch": _switch,
    "text": _text,
}


def check_number(
    what: str, value: object, low: float, high: float = math.inf, why: str = ""
) -> None:
    """Refuse what is not a finite number in [low, high].

    Raises:
        ValueError: names the value and the range.
    """
    fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or not low <= value <= high:
        bounds = f"in [{low}, {high}]" if high < math.inf else f"of at least {low}"
        raise ValueError(f"{what} is {value!r}: it must be a number {bounds}{why}")


def parse_option(described: Option, text: str) -> Any:
    """A value typed on the command line, not yet validated.

    Example:
        >>> parse_option(Option("rank", "", ""), "8")
        8
    """
    text = text.strip()
    if described.optional and text.lower() in {"none", ""}:
        return None
    if described.parse is not None and (parsed := described.parse(text)) is not None:
        return parsed
    if described.kind == "switch" and text.lower() in {"true", "false", "1", "0"}:
        return text.lower() in {"true", "1"}
    if described.kind in ("rank", "whole") and text.startswith("{"):
        return _by_layer(text)
    kinds = {"number": (float,), "whole": (int, float), "rank": (int, float)}
    return _convert(text, kinds.get(described.kind, ()))


def _by_layer(text: str) -> tuple[tuple[str, Any], ...]:
    """Pairs, so that a name that stands there twice is seen."""
    try:
        return json.loads(text, object_pairs_hook=tuple)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"rank {text!r} is not JSON: {error}. Write double quotes around each layer's name"
        ) from error


def _convert(text: str, kinds: tuple[type, ...]) -> int | float | str:
    for convert in kinds:
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def present_names(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as an older version wrote them, under the names that their fields have now.

    A class that has renamed fields says so in ``FORMER_NAMES``, old name to new.
    """
    former = getattr(cls, "FORMER_NAMES", {})
    return {former.get(name, name): value for name, value in values.items()}


def known_fields(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, if every key is a field of the dataclass, now or formerly.

    Raises:
        ValueError: names the keys that are not.
    """
    values = present_names(cls, values)
    names = {f.name for f in dataclasses.fields(cls)}
    unknown: Sequence[str] = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}: it has {sorted(names)}")
    return values
