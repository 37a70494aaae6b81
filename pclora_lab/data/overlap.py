"""Rows of one split that stand in another: what is trained on must not be what is reported on."""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np

from pclora_lab.data.account import DataError, Ledger, exceeds, round_up
from pclora_lab.data.dividing import take_rows
from pclora_lab.data.reading.trees import split_named
from pclora_lab.data.splits import Split

__all__ = ["in_others", "leave_shared_rows"]

_ENDS = 4096

_Content = Callable[[], bytes]


def in_others(examples: Sequence[Any], others: Sequence[Sequence[Any]]) -> np.ndarray:
    """Which of the examples stand in any of the other splits, ``(examples,)``.

    Texts are the same if their characters are, pictures if their bytes are.

    Example:
        >>> in_others(["a", "b", "c"], [["b"], ["c", "d"]]).tolist()
        [False, True, True]
    """
    if hasattr(examples, "content"):
        return _same_pictures(examples, others)
    held = {example for other in others for example in other}
    return np.fromiter((example in held for example in examples), dtype=bool, count=len(examples))


def _same_pictures(examples: Any, others: Sequence[Any]) -> np.ndarray:
    """By length first, then by both ends, and only then by all bytes."""
    lengths = examples.lengths()
    is_same = np.zeros(len(lengths), dtype=bool)
    held: dict[Hashable, list[_Content]] = {}
    wanted = np.unique(lengths)
    seen: list[np.ndarray] = []
    for other in others:
        theirs = other.lengths()
        seen.append(theirs)
        for row in np.flatnonzero(np.isin(theirs, wanted)).tolist():
            held.setdefault(_sketch(other.content(row)), []).append(partial(other.content, row))
    for row in np.flatnonzero(np.isin(lengths, np.concatenate([*seen, []]))).tolist():
        content = examples.content(row)
        is_same[row] = any(read() == content for read in held.get(_sketch(content), ()))
    return is_same


def _sketch(content: bytes) -> tuple[int, bytes]:
    ends = content[:_ENDS] + content[-_ENDS:]
    return len(content), hashlib.blake2b(ends, digest_size=16).digest()


def leave_shared_rows(splits: dict[str, Split], name: str, allowed: float, ledger: Ledger) -> None:
    """Take out of the training rows what stands in another split too, and of the validation rows
    what stands in the test split; in place.

    Raises:
        DataError: more than the allowed share of a split that is measured on is in another.
    """
    roles = {key: split_named(key) for key in splits}
    for role, later in (("validation", ("test",)), ("train", ("validation", "test"))):
        others = [splits[key] for key in splits if roles[key] in later]
        for key in [key for key in splits if roles[key] == role] if others else []:
            is_shared = in_others(splits[key].examples, [other.examples for other in others])
            if not is_shared.any():
                continue
            _check(splits, key, roles, later, name, allowed)
            there = [other for other in later if other in roles.values()]
            ledger.leave_rows(
                key, f"that the {' or '.join(there)} split has too", int(is_shared.sum()),
                f"row {int(is_shared.argmax())}", is_excused=True,
            )  # fmt: skip
            splits[key] = take_rows(splits[key], np.flatnonzero(~is_shared))


def _check(
    splits: dict[str, Split],
    key: str,
    roles: dict[str, str | None],
    later: tuple[str, ...],
    name: str,
    allowed: float,
) -> None:
    for other in [other for other in splits if roles[other] in later]:
        shared = int(in_others(splits[other].examples, [splits[key].examples]).sum())
        total = len(splits[other])
        if exceeds(shared, total, allowed):
            raise DataError(
                f"data {name!r}: {shared:,} of {total:,} rows of {other} stand among the rows of "
                f"{key} too, more than {allowed:.1%}: what is measured on must be new. Take them "
                f"out, or allow it with max_overlap={round_up(shared / total)}"
            )
