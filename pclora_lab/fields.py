"""Config fields that describe themselves: default, range, choices and help stand in one place.

A config is a frozen dataclass of such fields. Validation, the command line, the form in the lab,
the model card and the keys of what runs share all read the same description, so none of them needs
to know which config it belongs to."""

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pclora_lab.wording import brief, shown

__all__ = [
    "FieldError",
    "Option",
    "Part",
    "check_names",
    "check_number",
    "check_options",
    "check_text",
    "nearest",
    "option",
    "options_of",
    "parse_names",
    "values_of",
]

LARGEST_WHOLE = 2**63 - 1
LONGEST_TEXT = 2**16
# From here on a bound is far beyond what anybody means.
_FAR = 1000

KINDS = ("rank", "schedule", "number", "whole", "choice", "switch", "text", "method", "overrides")


class Part(StrEnum):
    """What a setting of a run is part of. Every setting is in a key, or says why it is in none."""

    DATA = "data"
    """Determines which data are read."""
    TEACHER = "teacher"
    """Determines what a fine-tuned teacher becomes, given the weights and data it starts from."""
    DENSE = "dense"
    """Determines, beside data and teacher, the accuracy of the dense model."""
    STUDENT = "student"
    """Determines this run alone: in no key of what runs share."""
    OBSERVES = "observes"
    """Changes no result: in no key."""
    RECIPE = "recipe"
    """Listed in the model card."""
    AXIS = "axis"
    """A comparison sets it for each of its runs."""


class FieldError(ValueError):
    """A value that a field can't have, or a field that is not there.

    Args:
        field: its name.
        message: value, reason and cure.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Option:
    """What a person needs to know to set one field.

    Attributes:
        kind: one of :data:`KINDS`.
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
        parts: what it is part of; see :class:`Part`.
        group: the part of the lab's form that it stands in, where there are several.
        suggestions: texts that a form offers.
        formerly: the name that it had in files of an older version.
        since: format of the config file that it came with. Keys that are kept on disk leave it out
            at its default if it came later than the first, so that older ones stay true.
        flag: its name on the command line, where its own is taken.
        check: returns a value in its canonical form or refuses it, where the kind does not say.
        parse: reads what was typed, or None to leave it to the kind.
        matters: whether it changes anything beside the config's other values; a form hides it else.
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
    parts: tuple[Part, ...] = ()
    group: str = ""
    suggestions: tuple[str, ...] = ()
    formerly: str = ""
    since: int = 1
    flag: str = ""
    check: Callable[[Any], Any] | None = None
    parse: Callable[[str], Any] | None = None
    matters: Callable[[Any], bool] | None = None


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
    if not dataclasses.is_dataclass(config):
        raise TypeError(f"{config!r} is no dataclass: it has no fields to describe")
    return {f.name: f.metadata["option"] for f in dataclasses.fields(config) if f.metadata}


def values_of(config: object, *parts: Part, stored: bool = False) -> dict[str, Any]:
    """The values of the fields that are part of something, by name.

    Args:
        config: a config.
        parts: a field that is part of any of them is taken.
        stored: for a key that is kept on disk; see ``since`` of :class:`Option`.
    """
    found = {n: o for n, o in options_of(config).items() if set(parts) & set(o.parts)}
    return {
        name: getattr(config, name)
        for name, described in found.items()
        if not (stored and described.since > 1 and is_default(config, name))
    }


def is_default(config: object, name: str) -> bool:
    """Whether a field has its default."""
    return bool(getattr(config, name) == getattr(type(config), name))


def check_options(config: object) -> None:
    """Validate every described field of a frozen dataclass; ranks and schedules are normalized.

    Raises:
        FieldError: the first value that is out of its range, with the range and a cure.
    """
    for name, described in options_of(config).items():
        value = getattr(config, name)
        if value is None and described.optional:
            continue
        object.__setattr__(config, name, _checked(name, value, described))


def _checked(name: str, value: object, described: Option) -> object:
    """A value in its canonical form; whatever its check makes of it is an error of the field."""
    try:
        _refuse_huge(value)
        if described.check is not None:
            return described.check(value)
        return _CHECKS[described.kind](name, value, described)
    except ValueError as error:
        message = brief(str(error))
        is_named = re.search(rf"\b{name}\b", message) is not None
        raise FieldError(name, message if is_named else f"{name}: {message}") from error
    except (TypeError, ArithmeticError, AttributeError, LookupError, RuntimeError) as error:
        message = f"{name} is {shown(value)}, which it can't be ({described.help})"
        raise FieldError(name, message) from error


def _refuse_huge(value: object, depth: int = 3) -> None:
    """Numbers that neither torch nor a file of JSON holds; Python can't even write them down."""
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        raise ValueError(f"{shown(value)} is too large: 2**63 - 1 is the largest whole number")
    if depth and isinstance(value, list | tuple | Mapping):
        inner = [*value, *value.values()] if isinstance(value, Mapping) else value
        for part in inner:
            _refuse_huge(part, depth - 1)


def _number(name: str, value: object, described: Option) -> object:
    check_number(name, value, described.low, described.high, f" ({described.help})")
    return value


def _whole(name: str, value: object, described: Option) -> object:
    if described.sizes and isinstance(value, (Mapping, tuple)):
        raise ValueError(
            f"{name} is given by layer, which this method can't do: its {described.label} is the "
            f"same for all layers. Give one whole number of at least {described.low:g}, or choose "
            "a method that takes a rank for each layer, such as pclora"
        )
    fits = isinstance(value, int) and described.low <= value <= described.high
    if not fits or isinstance(value, bool):
        bounds = f"at least {described.low:g}"
        if described.high < _FAR:
            bounds = f"{described.low:g} to {described.high:g}"
        elif described.high < math.inf:
            bounds += f" and at most {described.high:,}"
        raise ValueError(f"{name} is {shown(value)}: it must be a whole number of {bounds}")
    return value


def _choice(name: str, value: object, described: Option) -> object:
    if not isinstance(value, str) or value not in described.choices:
        allowed = ", ".join(described.choices)
        raise ValueError(f"unknown {described.noun or name} {shown(value)}: use one of {allowed}")
    return value


def _switch(name: str, value: object, described: Option) -> object:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {shown(value)}: it must be True or False")
    return value


def _text(name: str, value: object, described: Option) -> object:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {shown(value)}: it must be a text ({described.help})")
    check_text(name, value)
    return value


_CHECKS = {
    "number": _number,
    "whole": _whole,
    "choice": _choice,
    "switch": _switch,
    "text": _text,
}


def check_text(what: str, value: str) -> None:
    """Refuse what neither a path nor a file can hold.

    Raises:
        ValueError: names the value and the reason.

    Example:
        >>> check_text("model", "vit_digits")
    """
    reason = None
    if len(value) > LONGEST_TEXT:
        reason = f"it has {len(value):,} characters, {LONGEST_TEXT:,} are the most"
    elif "\0" in value:
        reason = "it holds a character with the number 0, which ends a name"
    elif any("\ud800" <= character <= "\udfff" for character in value):
        reason = "it holds half a character (a lone surrogate), which no file can hold"
    if reason is not None:
        raise ValueError(f"{what} is {shown(value)}: {reason}")


def check_number(
    what: str, value: object, low: float, high: float = math.inf, why: str = ""
) -> None:
    """Refuse what is not a finite number in [low, high].

    Raises:
        ValueError: names the value and the range.
    """
    fits = isinstance(value, (int, float)) and abs(value) < math.inf and low <= value <= high
    if not fits or isinstance(value, bool):
        bounds = f"in [{low}, {high}]" if high < math.inf else f"of at least {low}"
        raise ValueError(f"{what} is {shown(value)}: it must be a number {bounds}{why}")


def check_names(value: object) -> tuple[str, str]:
    """Two different names, as a tuple.

    Raises:
        ValueError: anything else.

    Example:
        >>> check_names(["premise", "hypothesis"])
        ('premise', 'hypothesis')
    """
    if isinstance(value, (list, tuple)) and len(value) == 2:
        first, second = value
        if isinstance(first, str) and isinstance(second, str) and "" != first != second != "":
            check_text("a name", first)
            check_text("a name", second)
            return first, second
    raise ValueError(f"{shown(value)} are not two different names, such as premise,hypothesis")


def parse_names(text: str) -> tuple[str, ...]:
    """Names as they are typed, with commas between them.

    Example:
        >>> parse_names("premise, hypothesis")
        ('premise', 'hypothesis')
    """
    return tuple(part.strip() for part in text.split(","))


def nearest(name: str, known: Collection[str]) -> str:
    """What a mistyped name may have meant, as an addition to an error; empty if nothing is near.

    Example:
        >>> nearest("stepz", ["seed", "steps"])
        ' (did you mean steps?)'
    """
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def present_names(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as an older version wrote them, under the names that their fields have now."""
    former = {o.formerly: name for name, o in options_of(cls).items() if o.formerly}
    return {former.get(name, name): value for name, value in values.items()}


def known_fields(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, if every key is a field of the dataclass, now or formerly.

    Raises:
        FieldError: names the keys that are not, and the nearest that there are.
    """
    values = present_names(cls, values)
    names = sorted(f.name for f in dataclasses.fields(cls))
    unknown = sorted(set(values) - set(names))
    if unknown:
        listed = ", ".join(f"{name}{nearest(name, names)}" for name in unknown)
        raise FieldError(unknown[0], f"{cls.__name__} has no {listed}: it has {names}")
    return values
