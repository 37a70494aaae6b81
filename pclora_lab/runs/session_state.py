"""Where a run in the background is: its progress, folded from its events, and the view of it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import (
    Event,
    LogRow,
    PhaseCost,
    PhaseStart,
    Planned,
    Resolved,
    Result,
    Row,
    RunEnd,
    StepEnd,
)

__all__ = ["LIVE", "OVER", "PartDone", "Progress", "SessionState"]

LIVE = ("running", "paused")

OVER = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class PartDone:
    """A part of a run and how much of it is done.

    Attributes:
        name: ``teacher``, ``fade``, ``after`` (without the base) or ``test``.
        share: of the whole run's counted cost, in [0, 1].
        done: in [0, 1].
    """

    name: str
    share: float
    done: float


@dataclass(frozen=True)
class SessionState:
    """What a view needs to know, at one moment.

    Attributes:
        state: new, running, paused, stopped, finished or failed.
        phase: data, teacher, start, fade or test.
        step: optimizer steps done in this phase.
        steps: optimizer steps of this phase; 0 where there are none.
        eta_seconds: time left until the run is over, at the pace so far, or None.
        rows: the history so far.
        result: final numbers, once finished.
        error: what went wrong, if the run failed.
        stopping: a stop was asked for and the step under way is not over yet.
        lambda_override: λ that a hand asks for, or None.
        parts: what the run consists of and how far it is, in order.
        config: with what ``auto`` stands for and the task that was guessed; None until that is
            known, and where there was nothing to find out.
    """

    state: str
    phase: str
    step: int
    steps: int
    eta_seconds: float | None
    rows: tuple[Row, ...]
    result: Result | None
    error: BaseException | None
    stopping: bool = False
    lambda_override: float | None = None
    parts: tuple[PartDone, ...] = ()
    config: RunConfig | None = None


class Progress:
    """What the events of a run have told so far, and how fast it goes.

    Attributes:
        phase: data, teacher, start, fade or test.
        step: optimizer steps done in this phase.
        steps: optimizer steps of this phase; 0 where there are none.
        planned: the parts of the run and what they cost.
        rows: the history so far.
        result: final numbers, once finished.
        student: the compressed model, once finished.
        teacher: the model that it was made from, once finished.
        config: with what ``auto`` stands for, once that is known.
    """

    def __init__(self) -> None:
        self._begin("", 0)
        self.config: RunConfig | None = None
        self.planned: tuple[PhaseCost, ...] = ()
        self.rows: list[Row] = []
        self.result: Result | None = None
        self.student: nn.Module | None = None
        self.teacher: nn.Module | None = None
        self._seconds_per_pass: float | None = None

    def _begin(self, phase: str, steps: int) -> None:
        self.phase, self.step, self.steps = phase, 0, steps
        self._seconds, self._going_since = 0.0, time.monotonic()
        # The part whose steps are timed, from which step and second of the phase on.
        self._timed: tuple[PhaseCost, int, float] | None = None
        self._last_step_end = 0.0

    def take(self, event: Event) -> None:
        """Note one event."""
        match event:
            case Resolved(config):
                self.config = config
            case Planned(phases):
                self.planned = phases
            case PhaseStart(name, steps):
                self._begin(name, steps)
            case StepEnd(_, step, _):
                self._time_step(step)
            case LogRow(values):
                self.rows.append(values)
            case RunEnd(result, student, teacher):
                self.result, self.student, self.teacher = result, student, teacher

    def _time_step(self, step: int) -> None:
        """A run that is taken up begins with a later step than the first."""
        self.step = step
        part = next((part for part, last in self._own_parts() if step <= last), None)
        if part is None:  # not planned: each of its steps costs as much
            part = PhaseCost(self.phase, steps := max(self.steps, 1), steps)
        if self._timed is None or self._timed[0] != part:
            self._timed = part, step - 1, self._last_step_end
        self._last_step_end = self._elapsed()
        _, first, began = self._timed
        passes = (step - first) * part.passes / part.steps
        self._seconds_per_pass = (self._last_step_end - began) / passes

    def _own_parts(self) -> Iterator[tuple[PhaseCost, int]]:
        """Those of this phase with the last step of each; ``fade`` has one without its base."""
        names = ("fade", "after") if self.phase == "fade" else (self.phase,)
        last = 0
        for part in self.planned:
            if part.name in names:
                last += part.steps
                yield part, last

    def parts(self) -> tuple[PartDone, ...]:
        """Every part of the run and how much of it is done."""
        whole = sum(part.passes for part in self.planned)
        return tuple(PartDone(part.name, part.passes / whole, done) for part, done in self._done())

    def _done(self) -> list[tuple[PhaseCost, float]]:
        """Every part with the share of it that is done."""
        if self.result is not None:
            return [(part, 1.0) for part in self.planned]
        own = dict(self._own_parts())
        if not own:
            # Between two phases: the teacher is done where its student is prepared.
            begun = self.phase in ("start", "fade", "test")
            return [(part, float(begun and part.name == "teacher")) for part in self.planned]
        first = min(self.planned.index(part) for part in own)
        done = [(part, 1.0) for part in self.planned[:first]]
        for part in self.planned[first:]:
            share = 0.0  # of what is ahead, and of the test, which has no steps
            if part in own and part.steps:
                steps = self.step - (own[part] - part.steps)
                share = min(max(steps / part.steps, 0.0), 1.0)
            done.append((part, share))
        return done

    def stop_clock(self) -> None:
        """A pause begins: the time until it is over is not the run's."""
        self._seconds = self._elapsed()
        self._going_since = float("inf")

    def start_clock(self) -> None:
        """A pause is over."""
        self._going_since = time.monotonic()

    def _elapsed(self) -> float:
        return self._seconds + max(0.0, time.monotonic() - self._going_since)

    def eta_seconds(self) -> float | None:
        """Time left in the run at the pace of the part under way; None before its first step.

        What is ahead is counted in passes, so that a test on many examples or a teacher before its
        student is in it from the start.
        """
        if self._seconds_per_pass is None:
            return None
        if self.planned:
            left = sum(part.passes * (1 - done) for part, done in self._done())
        else:
            left = self.steps - self.step
        under_way = (
            self._elapsed() - self._last_step_end if self.step or self.phase == "test" else 0.0
        )
        return max(0.0, left * self._seconds_per_pass - under_way)
