"""What stands on the x axis of a run's curves: when its steps were taken, and where a hand held λ.

Both are read from the rows of a history, so that a run from disk shows what a running one does.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

from pclora_lab.training.lambda_override import Override, overrides_in

__all__ = ["BY_HAND", "held_spans", "step_seconds", "with_held"]

BY_HAND = "lam_by_hand"
"""Column of :func:`with_held`."""

Row = Mapping[str, Any]


def step_seconds(rows: Iterable[Row]) -> tuple[list[int], list[float]]:
    """Steps of the method's training, and the seconds that the run had taken by then.

    The run's clock stands still while it is paused. A run that was taken up goes on from the
    seconds of its checkpoint; where a clock began at zero again, what it had counted is added.

    Args:
        rows: the history; rows without ``seconds`` are left out.

    Returns:
        the steps, and seconds that never fall.

    Example:
        >>> times = [(0, 0.5), (10, 4.0), (20, 1.0)]
        >>> step_seconds({"phase": "fade", "step": n, "seconds": s} for n, s in times)
        ([0, 10, 20], [0.5, 4.0, 5.0])
    """
    steps: list[int] = []
    seconds: list[float] = []
    before = latest = 0.0
    for row in rows:
        if _is_of_fade(row) and _is_number(row.get("seconds")):
            before += latest if row["seconds"] < latest else 0.0
            latest = row["seconds"]
            steps.append(row["step"])
            seconds.append(before + latest)
    return steps, seconds


def held_spans(rows: Iterable[Row]) -> list[tuple[int, int]]:
    """First and last step of every stretch in which a hand held λ.

    Args:
        rows: the history; a hand that has not let go holds until the newest row.

    Example:
        >>> moves = [[4, 0.5], [6, 0.4], [9, None], [12, 0.1]]
        >>> held_spans([{"phase": "fade", "step": 20, "overrides": moves}])
        [(4, 9), (12, 20)]
    """
    rows = [row for row in rows if _is_of_fade(row)]
    newest = max((row["step"] for row in rows), default=0)
    spans: list[tuple[int, int]] = []
    since: int | None = None
    for step, lam in (*_moves(rows), (newest, None)):
        if _is_number(lam):
            since = step if since is None else since
        elif since is not None:
            spans.append((since, max(step, since)))
            since = None
    return spans


def with_held(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows with λ once more where a hand held it, in :data:`BY_HAND`; NaN elsewhere.

    Nothing is added to the rows of a run without a hand.

    Example:
        >>> rows = [{"phase": "fade", "step": 0, "lam": 1.0},
        ...         {"phase": "fade", "step": 9, "lam": 0.5, "overrides": [[4, 0.5]]}]
        >>> [row[BY_HAND] for row in with_held(rows)]
        [nan, 0.5]
    """
    rows = list(rows)
    moves = _moves(rows)
    for row in rows:
        if not moves or not _is_of_fade(row):
            yield row
            continue
        made = [lam for step, lam in moves if step <= row["step"]]
        # At the last step the schedule has its way, whatever the hand asks for.
        is_held = bool(made) and _is_number(made[-1]) and made[-1] == row.get("lam")
        yield {**row, BY_HAND: row["lam"] if is_held else math.nan}


def _moves(rows: Iterable[Row]) -> tuple[Override, ...]:
    """None from a history that somebody edited into what no hand does."""
    with contextlib.suppress(ValueError, TypeError):
        return overrides_in(rows)
    return ()


def _is_of_fade(row: Row) -> bool:
    return row.get("phase") == "fade" and isinstance(row.get("step"), Integral)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
