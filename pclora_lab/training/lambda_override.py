"""λ at every step, moved by the schedule or in a person's hand from the step they asked on.

A move is ``(step, λ)``, ``(step, None)`` to give λ back to the schedule, or ``(step, "reset")`` to
give it back and clear the optimizer's moments.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from pclora_lab.fields import check_number
from pclora_lab.json_files import parse_json
from pclora_lab.methods.base import Method
from pclora_lab.methods.pclora.fading import lambda_jumps
from pclora_lab.wording import shown

__all__ = [
    "LambdaDriver",
    "RESET",
    "LambdaOverride",
    "Override",
    "check_overrides",
    "overrides_in",
    "overrides_to_repeat",
    "parse_overrides",
]

# Moments of gradients at a λ that jumps come no more: the hand may clear them as it lets go.
RESET = "reset"

Override = tuple[int, float | str | None]


def check_overrides(overrides: Iterable[Iterable[Any]]) -> tuple[Override, ...]:
    """Moves in order of their steps, checked.

    Raises:
        ValueError: a step that is no whole number, λ outside [0, 1], or steps out of order.

    Example:
        >>> check_overrides([[10, 0.5], [20, None]])
        ((10, 0.5), (20, None))
    """
    checked: list[Override] = []
    for move in overrides:
        try:
            step, lam = move
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'{move!r} is no move: give pairs (step, λ), (step, None) or (step, "reset")'
            ) from error
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise ValueError(f"move {move!r}: the step must be a whole number from 0 on")
        if checked and step < checked[-1][0]:
            raise ValueError(f"move {move!r} comes after step {checked[-1][0]}: sort them by step")
        if lam is not None and lam != RESET:
            check_number("λ of a move", lam, 0, 1)
        checked.append((step, lam))
    return tuple(checked)


def parse_overrides(text: str) -> list[list[Any]]:
    """Typed overrides, not yet validated: ``100:0.5,200:none``, or pairs in JSON.

    Raises:
        ValueError: it is neither.

    Example:
        >>> parse_overrides("100:0.5, 200:none")
        [[100, 0.5], [200, None]]
    """
    if text.startswith("["):
        return parse_json(text, f"overrides {shown(text)}")
    pairs = [part.partition(":") for part in text.split(",") if part.strip()]
    try:
        return [[int(step), _parsed(lam.strip())] for step, _, lam in pairs]
    except ValueError:
        raise ValueError(
            f"overrides {text!r} are no list of step:λ: write 100:0.5,200:none, where none gives "
            "λ back to the schedule (reset: and clears the optimizer's moments)"
        ) from None


def _parsed(lam: str) -> float | str | None:
    return {"none": None, RESET: RESET}[lam] if lam in ("none", RESET) else float(lam)


class LambdaOverride:
    """Whether a hand or the schedule decides about λ; any thread may move it.

    Args:
        overrides: to be made at their steps, as an earlier run recorded them.

    Example:
        >>> lambda_override = LambdaOverride([(2, 0.5)])
        >>> [lambda_override.at(step) for step in range(4)]
        [None, None, 0.5, 0.5]
        >>> lambda_override.set(None)
        >>> lambda_override.at(4), lambda_override.take()
        (None, [[2, 0.5], [4, None]])
    """

    def __init__(self, overrides: Iterable[Override] = ()) -> None:
        self._planned = list(check_overrides(overrides))
        self._wanted: float | str | None = None
        self._in_force: float | None = None
        self._made: list[Override] = []
        self._asked_at: int | None = None
        self._reset_at: int | None = None
        self._told = 0
        self._lock = threading.Lock()

    @property
    def lam(self) -> float | None:
        """What the hand asks for; None while the schedule decides."""
        wanted = self._wanted
        return None if isinstance(wanted, str) else wanted

    def set(self, lam: float | str | None) -> None:
        """Hold λ at a value from the next step on, or give it back with None or :data:`RESET`.

        A hand overrules moves that were planned: none of them is made any more.

        Raises:
            ValueError: λ outside [0, 1].
        """
        if lam is not None and lam != RESET:
            check_number("λ", lam, 0, 1)
        with self._lock:
            # Where nothing is held, there is nothing to give back.
            is_idle = lam == RESET and self._in_force is None
            self._planned, self._wanted = [], None if is_idle else lam

    def at(self, step: int) -> float | None:
        """What holds at this step, however often it is asked; a change is noted as made here."""
        with self._lock:
            if step == self._asked_at:  # its row may have been logged: a hand comes too late
                return self._in_force
            self._asked_at = step
            while self._planned and self._planned[0][0] <= step:
                self._wanted = self._planned.pop(0)[1]
            if self._wanted != self._in_force:
                self._made.append((step, self._wanted))
                if isinstance(self._wanted, str):
                    self._reset_at, self._wanted = step, None
                self._in_force = self._wanted
            return self._in_force

    def resets_at(self, step: int) -> bool:
        """Whether the hand let go at this step and asked for fresh moments.

        Example:
            >>> lambda_override = LambdaOverride([(2, 0.5), (4, "reset")])
            >>> [lambda_override.at(step) for step in (2, 3, 4)]
            [0.5, 0.5, None]
            >>> lambda_override.resets_at(3), lambda_override.resets_at(4)
            (False, True)
        """
        return step == self._reset_at

    def make_until(self, step: int, already_told: int = 0) -> None:
        """Make all planned moves before a step at once, as a training that is taken up needs.

        Args:
            step: that comes next.
            already_told: how many of the moves stand in the history; :meth:`take` gives the rest.

        Example:
            >>> lambda_override = LambdaOverride([(2, 0.5), (7, None)])
            >>> lambda_override.make_until(5)
            >>> lambda_override.lam, lambda_override.made, lambda_override.at(7)
            (0.5, ((2, 0.5),), None)
        """
        for earlier in sorted({move[0] for move in self._planned if move[0] < step}):
            self.at(earlier)
        self._told = already_told

    @property
    def in_force(self) -> float | None:
        """What held at the step that was asked for last."""
        return self._in_force

    @property
    def made(self) -> tuple[Override, ...]:
        """All moves that came into force so far."""
        with self._lock:
            return tuple(self._made)

    def made_and_planned(self, step: int) -> tuple[Override, ...]:
        """All moves as they stand before a step: made, asked for, planned.

        Example:
            >>> lambda_override = LambdaOverride([(2, 0.5), (7, None)])
            >>> lambda_override.make_until(5)
            >>> lambda_override.made_and_planned(5)
            ((2, 0.5), (7, None))
            >>> lambda_override.set(0.25)
            >>> lambda_override.made_and_planned(5)
            ((2, 0.5), (5, 0.25))
        """
        with self._lock:
            # Once a step was asked for, its row may have been logged.
            next_step = step + 1 if step == self._asked_at else step
            asked = [(next_step, self._wanted)] if self._wanted != self._in_force else []
            return (*self._made, *asked, *self._planned)

    def take(self) -> list[list[Any]]:
        """The moves since the last call, for the history."""
        with self._lock:
            new, self._told = self._made[self._told :], len(self._made)
        return [list(move) for move in new]


class LambdaDriver:
    """Moves a student along with the step number.

    Args:
        method: bound to its options.
        student: what it trains.
        steps: of the training.
        override: λ in a person's hand.

    Attributes:
        progress: share of the training that is done, in [0, 1].
        facts: what the method said about the student at this step, for the history.
        in_force: λ that a hand holds at this step, or None.
    """

    def __init__(
        self,
        method: Method,
        student: nn.Module,
        steps: int,
        override: LambdaOverride,
    ) -> None:
        self.method, self.student, self.steps, self.override = method, student, steps, override
        self.progress = 0.0
        self.facts: dict[str, Any] = {}
        self.in_force: float | None = None
        self._trained_facts: dict[str, Any] = {}

    def take_up(self, step: int) -> None:
        """Find λ as it was at the last step before this one, which a jump is measured from."""
        if self.method.fades:
            held, before = self.override.in_force, (step - 1) / self.steps
            self._trained_facts = (
                self.method.set_progress(self.student, before)
                if held is None
                else self.method.override_lambda(self.student, held)
            )

    def begin_step(self, step: int) -> bool:
        """Move the student to the step that is trained next; whether moments are to be cleared.

        That is so where λ jumps and the method's ``reset_moments`` asks for it, or where a hand
        that lets go does.
        """
        self.set_step(step)
        before, self._trained_facts = self._trained_facts, self.facts
        jumped = lambda_jumps(before.get("lam"), self.facts.get("lam"))
        asked = getattr(self.method.config, "reset_moments", False)
        return (jumped and asked) or self.override.resets_at(step)

    def set_step(self, step: int) -> None:
        """Tell the method how far the training is; a hand on λ has the last word until the end.

        A row, a snapshot and the training step that follow one another have the same step number,
        so each of them may ask for it, and all see one λ.
        """
        self.progress, is_over = step / self.steps, step >= self.steps
        lam = self.override.at(step) if self.method.fades and not is_over else None
        if lam is None:
            self.facts = self.method.set_progress(self.student, self.progress)
        else:
            self.facts = self.method.override_lambda(self.student, lam)
        if not is_over:
            in_force = lam is not None and self.facts.get("lam") == lam
            self.in_force = lam if in_force else None

    @property
    def base_dropped(self) -> bool:
        """Whether there was a base to fade, and it is gone."""
        return self.method.fades and self.method.without_base(self.student) is None

    def take_facts(self) -> dict[str, Any]:
        """For a row of the history: the method's facts, and what a hand did since the last row."""
        if not self.method.fades:
            return self.facts
        overrides = self.override.take()
        told = {"overrides": overrides} if overrides else {}
        return {**self.facts, "base_held": not self.base_dropped, **told}


def overrides_in(rows: Iterable[Mapping[str, Any]]) -> tuple[Override, ...]:
    """All moves in a history, ready for :class:`pclora_lab.RunConfig`'s ``overrides``."""
    return check_overrides(move for row in rows for move in row.get("overrides") or ())


def overrides_to_repeat(
    rows: Sequence[Mapping[str, Any]], overrides: Iterable[Override]
) -> tuple[Override, ...]:
    """What a history tells, and of other moves those that were still to come when it ended.

    Example:
        >>> rows = [{"phase": "fade", "step": 10, "overrides": [[4, 0.5]]}]
        >>> overrides_to_repeat(rows, [(4, 0.7), (20, None)])
        ((4, 0.5), (20, None))
    """
    reached = [row.get("step") or 0 for row in rows if row.get("phase") == "fade"]
    to_come = (move for move in overrides if not any(step > move[0] for step in reached))
    return (*overrides_in(rows), *to_come)
