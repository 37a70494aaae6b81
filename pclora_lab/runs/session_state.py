"""Where a run in the background is: its progress, folded from its events, and the view of it."""

import time
from dataclasses import dataclass

from torch import nn

from pclora_lab.training.events import Event, LogRow, PhaseStart, Result, Row, RunEnd, StepEnd

__all__ = ["LIVE", "OVER", "Progress", "SessionState"]

LIVE = ("running", "paused")

OVER = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class SessionState:
    """What a view needs to know, at one moment.

    Attributes:
        state: new, running, paused, stopped, finished or failed.
        phase: data, teacher, start, fade or test.
        step: optimizer steps done in this phase.
        steps: optimizer steps of this phase; 0 where there are none.
        eta_seconds: time left in this phase at the pace so far, or None.
        rows: the history so far.
        result: final numbers, once finished.
        error: what went wrong, if the run failed.
        stopping: a stop was asked for and the step under way is not over yet.
        lambda_override: λ that a hand asks for, or None.
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


class Progress:
    """What the events of a run have told so far, and how fast it goes.

    Attributes:
        phase: data, teacher, start, fade or test.
        step: optimizer steps done in this phase.
        steps: optimizer steps of this phase; 0 where there are none.
        rows: the history so far.
        result: final numbers, once finished.
        student: the compressed model, once finished.
        teacher: the model that it was made from, once finished.
    """

    def __init__(self) -> None:
        self.phase, self.step, self.steps = "", 0, 0
        self.rows: list[Row] = []
        self.result: Result | None = None
        self.student: nn.Module | None = None
        self.teacher: nn.Module | None = None
        self._steps_before = 0
        self._seconds, self._going_since = 0.0, 0.0

    def take(self, event: Event) -> None:
        """Note one event."""
        match event:
            case PhaseStart(name, steps):
                self.phase, self.step, self.steps = name, 0, steps
                self._seconds, self._going_since = 0.0, time.monotonic()
            case StepEnd(_, step, _):
                if not self.step:
                    self._steps_before = step - 1  # more than 0 in a run that is taken up
                self.step = step
            case LogRow(values):
                self.rows.append(values)
            case RunEnd(result, student, teacher):
                self.result, self.student, self.teacher = result, student, teacher

    def stop_clock(self) -> None:
        """A pause begins: the time until it is over is not the run's."""
        self._seconds += time.monotonic() - self._going_since

    def start_clock(self) -> None:
        """A pause is over."""
        self._going_since = time.monotonic()

    def eta_seconds(self, *, paused: bool = False) -> float | None:
        """Time left in this phase at the pace so far; None before its first step."""
        if not self.step:
            return None
        going = 0.0 if paused else time.monotonic() - self._going_since
        done_here = self.step - self._steps_before
        return (self._seconds + going) / done_here * (self.steps - self.step)
