"""What a JSON file must be like before anything is made of it: types and bounds, place by place.

A check takes the name of a place and what stands there. A few lines of it say what a library for
JSON Schema would, with the bound, the place and the value in the error, as for a config's fields.

Example:
    >>> check = record({"ranks": mapping(whole(1, 64))}, {"method": optional(text())})
    >>> check("config.json", {"ranks": {"fc": 8}, "more": "of a newer version"})
    >>> check("config.json", {"ranks": {"fc": 10**7}})
    Traceback (most recent call last):
    ValueError: config.json: ranks.fc is 10000000: it must be a whole number from 1 to 64
"""

from collections.abc import Callable, Mapping
from typing import Any

from pclora_lab.wording import shown

__all__ = [
    "Check",
    "anything",
    "listed",
    "mapping",
    "number",
    "number_within",
    "one_of_kinds",
    "optional",
    "record",
    "switch",
    "text",
    "whole",
]

Check = Callable[[str, Any], None]
"""Raises ValueError, which names the place, the value and what it must be."""

_MOST_ENTRIES = 1_000_000
_DEEPEST = 32


def _refuse(place: str, value: object, expected: str) -> None:
    file, _, inner = place.partition(": ")
    subject = f"{file}: {inner} is" if inner else f"{file} holds"
    raise ValueError(f"{subject} {shown(value)}: it must be {expected}")


def _inside(place: str, name: str) -> str:
    return f"{place}.{name}" if ": " in place else f"{place}: {name}"


def whole(low: int, high: int) -> Check:
    """A whole number in [low, high]."""

    def check(place: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            _refuse(place, value, f"a whole number from {low:,} to {high:,}")

    return check


def number(place: str, value: Any) -> None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        _refuse(place, value, "a finite number")


def number_within(low: float, high: float) -> Check:
    """A number in [low, high]."""

    def check(place: str, value: Any) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            _refuse(place, value, f"a number from {low:g} to {high:g}")

    return check


def text(longest: int = 2**16) -> Check:
    """A text of at most so many characters."""

    def check(place: str, value: Any) -> None:
        if not isinstance(value, str) or len(value) > longest:
            _refuse(place, value, f"a text of at most {longest:,} characters")

    return check


def switch(place: str, value: Any) -> None:
    """True or false."""
    if not isinstance(value, bool):
        _refuse(place, value, "true or false")


def optional(inner: Check) -> Check:
    """The same, or null."""

    def check(place: str, value: Any) -> None:
        if value is not None:
            inner(place, value)

    return check


def listed(inner: Check) -> Check:
    """A list of such values."""

    def check(place: str, value: Any) -> None:
        if not isinstance(value, list | tuple) or len(value) > _MOST_ENTRIES:
            _refuse(place, value, "a list")
        for index, part in enumerate(value):
            inner(f"{place}[{index}]", part)

    return check


def mapping(inner: Check) -> Check:
    """An object with such a value under every name."""

    def check(place: str, value: Any) -> None:
        if not isinstance(value, Mapping) or len(value) > _MOST_ENTRIES:
            _refuse(place, value, "an object")
        for name, part in value.items():
            inner(_inside(place, str(name)), part)

    return check


def record(required: Mapping[str, Check], others: Mapping[str, Check] | None = None) -> Check:
    """An object with these names; further ones may be there, as a newer version writes them."""
    known = {**(others or {}), **required}

    def check(place: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            _refuse(place, value, "an object")
        missing = [name for name in required if name not in value]
        if missing:
            raise ValueError(f"{place} lacks {', '.join(missing)}")
        for name, inner in known.items():
            if name in value:
                inner(_inside(place, name), value[name])

    return check


def one_of_kinds(*kinds: Check, expected: str) -> Check:
    """What any of the checks takes."""

    def check(place: str, value: Any) -> None:
        for kind in kinds:
            try:
                return kind(place, value)
            except ValueError:
                continue
        return _refuse(place, value, expected)

    return check


def anything(limit: Callable[[str], int]) -> Check:
    """Whatever JSON holds, but no number above what its name allows, and nothing too deep.

    Args:
        limit: from a name to the largest whole number under it.
    """

    def check(place: str, value: Any) -> None:
        walk(place, value, 0, place.rpartition(".")[2])

    def walk(place: str, value: Any, depth: int, name: str) -> None:
        if depth > _DEEPEST:
            raise ValueError(
                f"{place} holds lists or objects in each other, deeper than {_DEEPEST}"
            )
        if isinstance(value, Mapping):
            for key, part in value.items():
                walk(_inside(place, str(key)), part, depth + 1, str(key))
        elif isinstance(value, list | tuple):
            for part in value:
                walk(place, part, depth + 1, name)
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > limit(name):
            _refuse(place, value, f"a whole number of at most {limit(name):,}")

    return check
