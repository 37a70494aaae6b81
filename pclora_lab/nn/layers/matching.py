"""Which names a regular expression finds, within a bounded time whatever the expression is."""

import re
import time
from collections.abc import Iterable
from math import prod

import regex

__all__ = ["as_typed", "exactly", "matching_names"]

_LONGEST = 100_000

# Counted repetitions multiply where one is inside the other, and are written out when compiled.
_MOST_REPEATED = 10_000

_SECONDS = 1.0


def matching_names(targets: str, names: Iterable[str]) -> set[str]:
    """The names in which an expression is found.

    Args:
        targets: a regular expression, perhaps out of somebody else's configuration.
        names: of layers.

    Raises:
        ValueError: it is no expression, it repeats too much, or looking for it takes longer than a
            second.

    Example:
        >>> sorted(matching_names(r"fc[12]$", ["blocks.0.mlp.fc1", "blocks.0.mlp.act"]))
        ['blocks.0.mlp.fc1']
    """
    pattern = _compiled(targets)
    found, end = set(), time.monotonic() + _SECONDS
    for name in names:
        try:
            if pattern.search(name, timeout=max(end - time.monotonic(), 1e-3)):
                found.add(name)
        except TimeoutError as error:
            raise ValueError(
                f"targets {_short(targets)} takes more than {_SECONDS:g} s to look for in names "
                f"such as {name}: it repeats something that repeats, as (a+)+ does. Write it "
                "without a repetition inside another one, such as fc1|fc2"
            ) from error
    return found


def _compiled(targets: str) -> "regex.Pattern[str]":
    if len(targets) > _LONGEST:
        raise ValueError(
            f"targets has {len(targets):,} characters, {_LONGEST:,} is the most: give a shorter "
            "expression, such as fc1|fc2"
        )
    counts = [max(int(n[-9:] or 0) for n in two) for two in _COUNTED.findall(targets)]
    repeated = prod(count for count in counts if count > 1)
    if repeated > _MOST_REPEATED:
        raise ValueError(
            f"targets {_short(targets)} repeats up to {repeated:,} times, {_MOST_REPEATED:,} "
            "is the most: names of layers are short; write + or * instead"
        )
    try:
        return regex.compile(targets)
    except (regex.error, RecursionError, OverflowError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"targets {_short(targets)} is no regular expression: {reason}") from error


_COUNTED = re.compile(r"\{([0-9]*),?([0-9]*)\}")


def exactly(names: Iterable[str]) -> str:
    """An expression that finds these names and no others; without a backslash where they have none.

    Example:
        >>> exactly(["blocks.0.fc1", "head"])
        '^(blocks[.]0[.]fc1|head)$'
    """
    # A backslash would have to be typed twice in Python and once in a shell.
    escaped = [re.escape(name).replace(r"\.", "[.]") for name in names]
    return f"^({'|'.join(escaped)})$"


def as_typed(targets: str) -> str:
    r"""An expression for a message, in quotes, as a person types it: no backslash is doubled.

    Example:
        >>> print(as_typed(r"mlp\.fc1"))
        'mlp\.fc1'
    """
    return repr(targets).replace("\\\\", "\\")


def _short(targets: str) -> str:
    return as_typed(targets if len(targets) <= 80 else f"{targets[:80]}…")
