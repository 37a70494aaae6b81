"""A run in the background: start, pause, resume, stop, wait. It draws and prints nothing."""

import atexit
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from torch import nn

from pclora_lab.data.cache import DataCache
from pclora_lab.files import given_path
from pclora_lab.methods.registry import METHODS
from pclora_lab.models.serialization import save_pretrained
from pclora_lab.nn.runtime.openmp import release_after_cells, release_workers
from pclora_lab.runs.background_run import BackgroundRun, tell_watchers
from pclora_lab.runs.execution import Execution, RunLogger, execute
from pclora_lab.runs.resuming import Resumption, read_resumption
from pclora_lab.runs.session_state import SessionState
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import resolve_device
from pclora_lab.training.lambda_override import RESET, LambdaOverride
from pclora_lab.training.parallel.launch import refuse_several_processes

__all__ = ["Session", "live_session", "stop_all"]

# The session that holds each device: a device takes one run at a time.
_holders: dict[str, "Session"] = {}


_holders_lock = threading.Lock()


class Session(BackgroundRun):
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
        super().__init__()
        # Absolute, or a cell that changes the working directory would scatter the run.
        self.config, self.root, self.cache = config, given_path(root, "root").absolute(), cache
        self.loggers = tuple(loggers)
        self._lambda_override = LambdaOverride(config.overrides)
        self._resumption: Resumption | None = None
        self._allow_changes = False

    @classmethod
    def of_run(
        cls,
        folder: Path | str,
        *,
        cache: DataCache | None = None,
        loggers: Iterable[RunLogger] = (),
        allow_changes: bool = False,
    ) -> "Session":
        """A session that takes up a run that was stopped or killed, once it is started.

        It goes on in the run's folder, with the moves of λ that were made or are still to come.

        Args:
            folder: of the run.
            cache: data that earlier runs have read.
            loggers: told of every event, in the run's thread.
            allow_changes: go on even if data, model or settings are not what they were; see
                :func:`pclora_lab.resume`.

        Raises:
            FileNotFoundError: no run, or no checkpoint.
            RuntimeError: it has finished, or is being trained.
            ValueError: config or checkpoint can't be read, or are of another version.
        """
        rest = read_resumption(folder)
        session = cls(rest.config, rest.folder.parent, cache=cache, loggers=loggers)
        session._resumption, session.folder = rest, rest.folder
        session._lambda_override, session._allow_changes = rest.lambda_override, allow_changes
        session._progress.rows += rest.rows
        return session

    @property
    def compressed(self) -> nn.Module | None:
        """The model that came out, once finished."""
        return self._progress.student

    @property
    def teacher(self) -> nn.Module | None:
        """The model that it was made from, once finished."""
        return self._progress.teacher

    def start(self, *, replace: bool = False) -> "Session":
        """Begin, and return at once.

        Args:
            replace: stop a run that holds the device, instead of refusing to start.

        Raises:
            RuntimeError: started before, another run holds the device, or a launcher has started
                several processes.
            ValueError: the device is unknown or not there.
        """
        if self.state != "new":
            raise RuntimeError(
                f"this run is {self.state} and can't be started again: make a new Session"
            )
        refuse_several_processes("a session")
        device = str(resolve_device(self.config.device))
        other = _holders.get(device)
        if replace and other is not None and other.is_live:
            other.stop()
        with _holders_lock:
            _refuse_held(device)
            events = self._opener()
            release_workers()
            release_after_cells()
            _holders[device] = self
            self._begin(events, self._release_device)
        tell_watchers(self)
        return self

    def _opener(self) -> Callable[[], Execution]:
        """What opens the run, in its thread; a new run gets its folder here."""
        if self._resumption is not None:
            rest, self._resumption = self._resumption, None
            return lambda: rest.events(
                cache=self.cache, loggers=self.loggers, allow_changes=self._allow_changes
            )
        run = execute(
            self.config,
            self.root,
            cache=self.cache,
            lambda_override=self._lambda_override,
            loggers=self.loggers,
        )
        self.folder = run.folder
        return lambda: run

    def _release_device(self) -> None:
        """Or the models of a run that is over would live as long as the process."""
        with _holders_lock:
            for device in [d for d, session in _holders.items() if session is self]:
                del _holders[device]

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
        if not self.is_live:
            raise RuntimeError(f"nothing to hold: this run is {self.state}")
        method = METHODS[self.config.method.name]
        if not method.fades:
            raise RuntimeError(f"{method.title} has no λ to hold: only methods that fade have one")
        if not self.has_base:
            raise RuntimeError("the base was dropped when λ reached 0: there is nothing to hold")
        self._lambda_override.set(lam)

    def release_lambda(self, *, reset_moments: bool = False) -> None:
        """Give λ back to the schedule; nothing happens if it was not held.

        Args:
            reset_moments: also clear the optimizer's moments and let the learning rate rise again,
                which helped where λ fell from 1 to 0 at once (``data/results/lesson_02.json``).
        """
        self._lambda_override.set(RESET if reset_moments else None)

    @property
    def lambda_override(self) -> float | None:
        """λ as a hand holds it now; None while the schedule decides."""
        return self._lambda_override.lam

    @property
    def has_base(self) -> bool:
        """Whether the student still holds its base, as far as the history tells."""
        rows = self._progress.rows
        return not rows or rows[-1].get("base_held", True)

    def export(self, folder: Path | str) -> Path:
        """Write the compressed model to a folder; :func:`from_pretrained` reads it.

        Raises:
            RuntimeError: there is no compressed model yet.
        """
        if self.compressed is None:
            raise RuntimeError(
                f"nothing to export: this run is {self.state}, and the compressed model exists "
                "once it has finished"
            )
        return save_pretrained(self.compressed, folder)

    def snapshot(self) -> SessionState:
        """The present, for a view; later steps do not change it."""
        with self._changed:
            progress = self._progress
            return SessionState(
                state=self.state,
                phase=progress.phase,
                step=progress.step,
                steps=progress.steps,
                eta_seconds=progress.eta_seconds() if self.is_live else None,
                rows=tuple(progress.rows),
                result=progress.result,
                error=self.error,
                stopping=self.is_stopping,
                lambda_override=self.lambda_override,
                parts=progress.parts(),
                config=progress.config,
            )


def _refuse_held(device: str) -> None:
    other = _holders.get(device)
    if other is not None and other.is_live:
        raise RuntimeError(
            f"{other.folder} is {other.state} on {device}, and a device takes one run at a "
            "time: stop it first, wait for it, or use start(replace=True)"
        )


def live_session(root: Path | str | None = None) -> Session | None:
    """A session of this process that is still going, in a folder of runs or anywhere."""
    live = _live_sessions()
    wanted = None if root is None else Path(root).resolve()
    return next((s for s in live if wanted in (None, s.root.resolve())), None)


def _live_sessions() -> list[Session]:
    with _holders_lock:
        return [session for session in _holders.values() if session.is_live]


def stop_all() -> None:
    """Stop whatever still runs in this process, and wait for it."""
    live = _live_sessions()
    for session in live:
        session.stop(wait=False)
    for session in live:
        session.stop()


def _forget_sessions() -> None:
    """A forked child has no thread of them: waiting for their end would never end."""
    global _holders_lock
    _holders_lock = threading.Lock()
    _holders.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_sessions)

# A daemon thread inside torch while the interpreter shuts down aborts the process.
atexit.register(stop_all)
