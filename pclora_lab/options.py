"""Options that describe themselves: default, range, choices and help stand in one place.

A config is a frozen dataclass of such fields. Validation, the command line and the form in the lab
all read the same description, so none of them needs to know which method it belongs to.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pclora_lab.schedules import check_schedule, parse_points

__all__ = [
    "Option",
    "check_number",
    "check_options",
    "check_rank",
    "check_ranks",
    "option",
    "options_of",
    "parse_option",
]

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


def option(default: Any, kind: str, label: str, help: str, **more: Any) -> Any:
    """A dataclass field with its description; see :class:`Option` for ``more``."""
    return dataclasses.field(
        default=default, metadata={"option": Option(kind, label, help, **more)}
    )


def options_of(config: type | object) -> dict[str, Option]:
    """The described fields of a config class or object, by field name.

    Example:
        >>> from pclora_lab.config import PCLoRAConfig
        >>> options_of(PCLoRAConfig)["alpha"].high
        1
    """
    return {f.name: f.metadata["option"] for f in dataclasses.fields(config) if f.metadata}


def check_options(config: Any) -> None:
    """Validate every described field of a frozen dataclass; ranks and schedules are normalised.

    Raises:
        ValueError: the first value that is out of its range, with the range and a cure.
    """
    for name, described in options_of(config).items():
        value = getattr(config, name)
        if value is None and described.optional:
            continue
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
    "rank": lambda name, value, _: check_ranks(value),
    # Whether it may rise is another option's say: the config checks the two together.
    "schedule": lambda name, value, _: check_schedule(value, may_rise=True),
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


def check_rank(rank: object) -> int | str:
    """A positive whole number, or a percentage of each layer's break-even rank.

    Raises:
        ValueError: 0, negative, 7.5, "abc", "0%", "120%".

    Example:
        >>> check_rank("25%"), check_rank(8)
        ('25%', 8)
    """
    cure = 'use a whole number such as 16, or a share of the break-even rank such as "25%"'
    if isinstance(rank, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", rank)
        if match and 0 < float(match[1]) <= 100:
            return f"{match[1]}%"
        if re.fullmatch(r"\s*-?[0-9]+\s*", rank):
            return check_rank(int(rank))
        raise ValueError(f"rank {rank!r} is not a rank: {cure}")
    if isinstance(rank, bool) or not isinstance(rank, int):
        raise ValueError(f"rank {rank!r} is not a whole number: {cure}")
    if rank < 1:
        raise ValueError(f"rank {rank} leaves nothing of the layer: {cure}")
    return rank


def check_ranks(rank: object) -> int | str | tuple[tuple[str, int | str], ...]:
    """As :func:`check_rank`, or a rank by layer name, kept as pairs in the order of the names.

    Args:
        rank: one for all layers, or a mapping (or pairs) of layer names to ranks.

    Raises:
        ValueError: see :func:`check_rank`; no layer, a layer that is named twice.

    Example:
        >>> check_ranks({"fc2": 8, "fc1": "25%"})
        (('fc1', '25%'), ('fc2', 8))
    """
    if not isinstance(rank, (Mapping, tuple, list)):
        return check_rank(rank)
    pairs = list(rank.items()) if isinstance(rank, Mapping) else list(rank)
    checked: dict[str, int | str] = {}
    for pair in pairs:
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str)):
            raise ValueError(f"{pair!r} is no layer name with its rank: write {{name: rank, …}}")
        name, value = pair
        if name in checked:
            raise ValueError(f"{name} is given two ranks, {checked[name]} and {value}: keep one")
        try:
            checked[name] = check_rank(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    if not checked:
        raise ValueError("rank names no layer: give one number for all, or {name: rank, …}")
    return tuple(sorted(checked.items()))


def parse_option(described: Option, text: str) -> Any:
    """A value typed on the command line, not yet validated.

    Example:
        >>> parse_option(Option("rank", "", ""), "8")
        8
    """
    text = text.strip()
    if described.optional and text.lower() in {"none", ""}:
        return None
    if described.kind == "schedule" and ":" in text:
        return parse_points(text)
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


def known_fields(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, if every key is a field of the dataclass.

    Raises:
        ValueError: names the keys that are not.
    """
    names = {f.name for f in dataclasses.fields(cls)}
    unknown: Sequence[str] = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}: it has {sorted(names)}")
    return dict(values)
