"""A run in a thread of its own: start, pause, resume, stop, wait. It draws and prints nothing."""

import atexit
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pclora_lab.data.cache import DataCache
from pclora_lab.methods.registry import METHODS
from pclora_lab.models.serialization import save_pretrained
from pclora_lab.nn.openmp import release_after_cells, release_workers
from pclora_lab.quiet import quiet
from pclora_lab.runs.execution import Execution, RunLogger, execute
from pclora_lab.runs.resuming import Resumption, read_resumption
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import resolve_device
from pclora_lab.training.events import AdapterSnapshot, Event, LogRow, PhaseStart, RunEnd, StepEnd
from pclora_lab.training.lambda_override import LambdaOverride

__all__ = ["OVER", "Session", "SessionState", "live_session", "stop_all"]

OVER = ("finished", "stopped", "failed")


_LIVE = ("running", "paused")


_busy: dict[str, "Session"] = {}


_busy_lock = threading.Lock()


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
    rows: tuple[dict[str, Any], ...]
    result: dict[str, Any] | None
    error: BaseException | None
    stopping: bool = False
    lambda_override: float | None = None


class Session:
    """One run in the background.

    Args:
        config: what to run.
        root: folder of runs.
        cache: data that earlier runs have read.
        loggers: told of every event, in the run's thread; see :class:`RunLogger`.

    Example:
        >>> session = Session(RunConfig(steps=100))
        >>> session.state
        'new'
    """

    def __init__(
        self,
        config: RunConfig,
        root: Path | str = "runs",
        *,
        cache: DataCache | None = None,
        loggers: Iterable[RunLogger] = (),
    ) -> None:
        # Absolute, or a cell that changes the working directory would scatter the run.
        self.config, self.root, self.cache = config, Path(root).absolute(), cache
        self._lambda_override = LambdaOverride(config.overrides)
        self.folder: Path | None = None
        self.compressed: nn.Module | None = None
        self.teacher: nn.Module | None = None
        self._changed = threading.Condition()
        self._state, self._phase, self._step, self._steps = "new", "", 0, 0
        self._wanted, self._steps_before = "run", 0
        self._rows: list[dict[str, Any]] = []
        self._result: dict[str, Any] | None = None
        self._error: BaseException | None = None
        self._active_seconds, self._resumed_at = 0.0, 0.0
        self._rest: Resumption | None = None
        self._run: Execution | None = None
        self.loggers = tuple(loggers)

    @classmethod
    def of_run(
        cls,
        folder: Path | str,
        *,
        cache: DataCache | None = None,
        loggers: Iterable[RunLogger] = (),
    ) -> "Session":
        """A session that takes up a run that was stopped or killed, once it is started.

        It goes on in the run's folder, with the moves of λ that were made or are still to come.

        Args:
            folder: of the run.
            cache: data that earlier runs have read.
            loggers: told of every event, in the run's thread.

        Raises:
            FileNotFoundError: no run, or no checkpoint.
            RuntimeError: it has finished, or is being trained.
            ValueError: config or checkpoint can't be read, or are of another version.
        """
        rest = read_resumption(folder)
        session = cls(rest.config, rest.folder.parent, cache=cache, loggers=loggers)
        session._rest, session._lambda_override, session.folder = (
            rest,
            rest.lambda_override,
            rest.folder,
        )
        session._rows = list(rest.rows)
        return session

    @property
    def state(self) -> str:
        """new, running, paused, stopped, finished or failed."""
        return self._state

    @property
    def result(self) -> dict[str, Any] | None:
        """Final numbers, once finished."""
        return self._result

    @property
    def error(self) -> BaseException | None:
        """What ended the run, if it failed."""
        return self._error

    def start(self, *, replace: bool = False) -> "Session":
        """Begin, and return at once.

        Args:
            replace: stop a run that holds the device, instead of refusing to start.

        Raises:
            RuntimeError: started before, or another run holds the device.
            ValueError: the device is unknown or not there.
        """
        if self._state != "new":
            raise RuntimeError(
                f"this run is {self._state} and can't be started again: make a new Session"
            )
        device = str(resolve_device(self.config.device))
        other = _busy.get(device)
        if replace and other is not None and other.state in _LIVE:
            other.stop()
        with _busy_lock:
            other = _busy.get(device)
            if other is not None and other.state in _LIVE:
                raise RuntimeError(
                    f"{other.folder} is {other.state} on {device}, and a device takes one run at a "
                    "time: stop it first, wait for it, or use start(replace=True)"
                )
            if self._rest is None:
                self._run = execute(
                    self.config,
                    self.root,
                    cache=self.cache,
                    lambda_override=self._lambda_override,
                    loggers=self.loggers,
                )
                self.folder = self._run.folder
            self._state = "running"
            _busy[device] = self
        release_workers()
        release_after_cells()
        threading.Thread(target=self._work, name=f"run {self.folder.name}", daemon=True).start()
        return self

    def pause(self) -> None:
        """Hold after the current step.

        Raises:
            RuntimeError: the run is not going.
        """
        self._want("pause", "running")

    def resume(self) -> None:
        """Go on after a pause.

        Raises:
            RuntimeError: the run is not paused.
        """
        self._want("run", "paused", also="pause")

    def _want(self, wanted: str, needed: str, also: str | None = None) -> None:
        with self._changed:
            if self._wanted == "stop" and self._state in _LIVE:
                raise RuntimeError("this run is being stopped: wait for it")
            allowed = self._state == needed or (also is not None and self._wanted == also)
            if not allowed or self._state not in _LIVE:
                verb = "pause" if wanted == "pause" else "resume"
                raise RuntimeError(f"nothing to {verb}: this run is {self._state}")
            self._wanted = wanted
            self._changed.notify_all()

    def override_lambda(self, lam: float) -> None:
        """Take λ into your own hand, from the next step on, until :meth:`release_lambda`.

        Moves that the config plans for later are made no more.

        The base stays while λ is held, even at 0. Moves are recorded in the history.

        Args:
            lam: in [0, 1].

        Raises:
            ValueError: λ outside [0, 1].
            RuntimeError: the run is not going, its method has no λ, or its base is gone already.
        """
        if self._state not in _LIVE:
            raise RuntimeError(f"nothing to hold: this run is {self._state}")
        method = METHODS[self.config.method.name]
        if not method.fades:
            raise RuntimeError(f"{method.title} has no λ to hold: only methods that fade have one")
        if not self.has_base:
            raise RuntimeError("the base was dropped when λ reached 0: there is nothing to hold")
        self._lambda_override.set(lam)

    def release_lambda(self) -> None:
        """Give λ back to the schedule; nothing happens if it was not held."""
        self._lambda_override.set(None)

    @property
    def lambda_override(self) -> float | None:
        """λ as a hand holds it now; None while the schedule decides."""
        return self._lambda_override.lam

    @property
    def has_base(self) -> bool:
        """Whether the student still holds its base, as far as the history tells."""
        rows = self._rows
        return not rows or rows[-1].get("base_held", True)

    def stop(self, *, wait: bool = True, timeout: float = 60) -> None:
        """End after the current step; the run folder keeps all that was logged.

        Args:
            wait: return only once the thread has let go of the device.
            timeout: seconds to wait for that.

        Raises:
            RuntimeError: it was never started.
            TimeoutError: the current step takes longer than ``timeout``.
        """
        with self._changed:
            if self._state == "new":
                raise RuntimeError("nothing to stop: this run was not started")
            self._wanted = "stop"
            self._changed.notify_all()
            if wait and not self._changed.wait_for(self._is_over, timeout):
                raise TimeoutError(f"{self.folder} is still {self._state} after {timeout:g} s")

    def wait(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Block until the run is over.

        An interrupt (■) stops the run first.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            The final numbers, or None if the run was stopped.

        Raises:
            RuntimeError: it was never started.
            TimeoutError: it is not over yet; it goes on.
            Exception: whatever ended the run.
        """
        if self._state == "new":
            raise RuntimeError("nothing to wait for: call start() first")
        try:
            with self._changed:
                if not self._changed.wait_for(self._is_over, timeout):
                    raise TimeoutError(f"{self.folder} is still {self._state} after {timeout:g} s")
        except KeyboardInterrupt:
            self.stop()
            raise
        if self._error is not None:
            raise self._error
        return self._result

    def _is_over(self) -> bool:
        return self._state in OVER

    def export(self, folder: Path | str) -> Path:
        """Write the compressed model to a folder; :func:`from_pretrained` reads it.

        Raises:
            RuntimeError: there is no compressed model yet.
        """
        if self.compressed is None:
            raise RuntimeError(
                f"nothing to export: this run is {self._state}, and the compressed model exists "
                "once it has finished"
            )
        return save_pretrained(self.compressed, folder)

    def snapshot(self) -> SessionState:
        """The present, for a view; later steps do not change it."""
        with self._changed:
            return SessionState(
                state=self._state,
                phase=self._phase,
                step=self._step,
                steps=self._steps,
                eta_seconds=self._eta(),
                rows=tuple(self._rows),
                result=self._result,
                error=self._error,
                stopping=self._wanted == "stop" and self._state in _LIVE,
                lambda_override=self._lambda_override.lam,
            )

    def _eta(self) -> float | None:
        if self._state not in _LIVE or not self._step:
            return None
        going = time.monotonic() - self._resumed_at if self._state == "running" else 0.0
        done_here = self._step - self._steps_before
        return (self._active_seconds + going) / done_here * (self._steps - self._step)

    def _work(self) -> None:
        try:
            with quiet():
                how = self._train()
            self._end(how)
        except BaseException as error:  # noqa: BLE001 - kept, shown by views and re-raised in wait()
            # The kept error would hold the models, and the device's memory, through its frames.
            traceback.clear_frames(error.__traceback__)
            self._end("failed", error)

    def _train(self) -> str:
        """Take what happens until the run ends; returns how."""
        events = self._events()
        for event in events:
            self._take(event)
            # Only between two steps, where a checkpoint can be taken.
            if not isinstance(event, LogRow | AdapterSnapshot) and not self._may_go_on():
                events.close()
                return "stopped"
        return "finished"

    def _events(self) -> Execution:
        if self._rest is not None:
            rest, self._rest = self._rest, None  # its tensors should not outlive the run
            return rest.events(cache=self.cache, loggers=self.loggers)
        run, self._run = self._run, None  # its models should not live as long as the session
        if run is None:
            raise RuntimeError("this run was not started: call start() first")
        return run

    def _take(self, event: Event) -> None:
        with self._changed:
            match event:
                case PhaseStart(name, steps):
                    self._phase, self._step, self._steps = name, 0, steps
                    self._active_seconds, self._resumed_at = 0.0, time.monotonic()
                case StepEnd(_, step, _):
                    if not self._step:
                        self._steps_before = step - 1  # more than 0 in a run that is taken up
                    self._step = step
                case LogRow(values):
                    self._rows.append(values)
                case RunEnd(result, model, teacher):
                    self._result, self.compressed, self.teacher = result, model, teacher

    def _may_go_on(self) -> bool:
        """Hold here while a pause is wanted; False if the run is to stop."""
        with self._changed:
            if self._wanted == "pause":
                self._active_seconds += time.monotonic() - self._resumed_at
                self._state = "paused"
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._wanted != "pause")
                self._state, self._resumed_at = "running", time.monotonic()
            return self._wanted != "stop" or self._result is not None

    def _end(self, state: str, error: BaseException | None = None) -> None:
        with self._changed:
            self._state, self._error = state, error
            self._changed.notify_all()
        # Or the models of a run that is over would live as long as the process.
        with _busy_lock:
            for device in [d for d, session in _busy.items() if session is self]:
                del _busy[device]


def live_session(root: Path | str | None = None) -> Session | None:
    """A session of this process that is still going, in a folder of runs or anywhere."""
    with _busy_lock:
        live = [session for session in _busy.values() if session.state in _LIVE]
    wanted = None if root is None else Path(root).resolve()
    return next((s for s in live if wanted in (None, s.root.resolve())), None)


def stop_all() -> None:
    """Stop whatever still runs in this process, and wait for it."""
    with _busy_lock:
        live = [session for session in _busy.values() if session.state in _LIVE]
    for session in live:
        session.stop(wait=False)
    for session in live:
        session.stop()


# A daemon thread inside torch while the interpreter shuts down aborts the process.
atexit.register(stop_all)
