"""A run in a thread of its own, and the signals between it and whoever watches."""

import threading
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pclora_lab.quiet import quiet
from pclora_lab.remarks import remark
from pclora_lab.runs.execution import Execution
from pclora_lab.runs.session_state import LIVE, OVER, Progress
from pclora_lab.training.events import AdapterSnapshot, LogRow, Result
from pclora_lab.wording import explained

__all__ = ["BackgroundRun", "RunWatcher", "tell_watchers", "unwatch_runs", "watch_runs"]


class RunWatcher(Protocol):
    """Somebody who wants to know of every run that begins in the background, such as a lab."""

    def run_started(self, run: "BackgroundRun") -> None:
        """Called in the thread that started it."""


_watchers: "weakref.WeakSet[RunWatcher]" = weakref.WeakSet()


def watch_runs(watcher: RunWatcher) -> None:
    """Tell it of runs until :func:`unwatch_runs`, or as long as anybody else holds it."""
    _watchers.add(watcher)


def unwatch_runs(watcher: RunWatcher) -> None:
    """Tell it nothing any more; one that was told nothing is no mistake."""
    _watchers.discard(watcher)


def tell_watchers(run: "BackgroundRun") -> None:
    """A run has begun; a watcher that fails ends no run."""
    for watcher in list(_watchers):
        try:
            watcher.run_started(run)
        except Exception as error:  # noqa: BLE001 - the run goes on without being watched
            remark(f"{type(watcher).__name__} can't follow the run: {explained(error)}")


class BackgroundRun:
    """Takes a run's events in a thread; other threads ask it to pause, go on, stop.

    Attributes:
        folder: of the run, once it has one.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        # Held while anything below is read or written; told of every change.
        self._changed = threading.Condition()
        self._state, self._wanted = "new", "run"
        self._progress = Progress()
        self._error: BaseException | None = None
        self._open: Callable[[], Execution] | None = None

    @property
    def state(self) -> str:
        """new, running, paused, stopped, finished or failed."""
        return self._state

    @property
    def is_live(self) -> bool:
        """Whether it was started and is not over."""
        return self._state in LIVE

    @property
    def is_stopping(self) -> bool:
        """Whether a stop was asked for and the step under way is not over yet."""
        return self._wanted == "stop" and self.is_live

    @property
    def error(self) -> BaseException | None:
        """What ended the run, if it failed."""
        return self._error

    @property
    def result(self) -> Result | None:
        """Final numbers, once finished."""
        return self._progress.result

    def _begin(self, events: Callable[[], Execution], on_end: Callable[[], None]) -> None:
        """Start the thread, which opens the run and calls ``on_end`` when it is over."""
        self._state, self._open = "running", events
        name = f"run {self.folder.name}" if self.folder else "run"
        threading.Thread(target=self._work, args=(on_end,), name=name, daemon=True).start()

    def pause(self) -> None:
        """Hold after the current step.

        Raises:
            RuntimeError: the run is not going.
        """
        with self._changed:
            self._refuse_stopping()
            if self._state != "running":
                raise RuntimeError(f"nothing to pause: this run is {self._state}")
            self._want("pause")

    def resume(self) -> None:
        """Go on after a pause.

        Raises:
            RuntimeError: the run is not paused.
        """
        with self._changed:
            self._refuse_stopping()
            # Or asked to pause, and its step is not over yet.
            if self._state != "paused" and not (self.is_live and self._wanted == "pause"):
                raise RuntimeError(f"nothing to resume: this run is {self._state}")
            self._want("run")

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
            self._want("stop")
        if wait:
            self._wait_until_over(timeout)

    def wait(self, timeout: float | None = None) -> Result | None:
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
            self._wait_until_over(timeout)
        except KeyboardInterrupt:
            self.stop()
            raise
        if self._error is not None:
            raise self._error
        return self.result

    def _wait_until_over(self, timeout: float | None) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._state in OVER, timeout):
                raise TimeoutError(f"{self.folder} is still {self._state} after {timeout:g} s")

    def _refuse_stopping(self) -> None:
        if self.is_stopping:
            raise RuntimeError("this run is being stopped: wait for it")

    def _want(self, wanted: str) -> None:
        self._wanted = wanted
        self._changed.notify_all()

    def _work(self, on_end: Callable[[], None]) -> None:
        try:
            with quiet():
                how = self._take_all()
            self._end(how)
        except BaseException as error:  # noqa: BLE001 - kept, shown by views and re-raised in wait()
            # The kept error would hold the models, and the device's memory, through its frames.
            traceback.clear_frames(error.__traceback__)
            self._end("failed", error)
        on_end()

    def _take_all(self) -> str:
        """Take what happens until the run ends; returns how."""
        if self._open is None:
            raise RuntimeError("this run was not started: call start() first")
        # Not kept: models and checkpoint of a run should not live as long as its session.
        events, self._open = self._open(), None
        for event in events:
            with self._changed:
                self._progress.take(event)
            # Only between two steps, where a checkpoint can be taken.
            if not isinstance(event, LogRow | AdapterSnapshot) and not self._may_go_on():
                events.close()
                return "stopped"
        return "finished"

    def _may_go_on(self) -> bool:
        """Hold here while a pause is wanted; False if the run is to stop."""
        with self._changed:
            if self._wanted == "pause":
                self._progress.stop_clock()
                self._state = "paused"
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._wanted != "pause")
                self._state = "running"
                self._progress.start_clock()
            return self._wanted != "stop" or self._progress.result is not None

    def _end(self, state: str, error: BaseException | None = None) -> None:
        with self._changed:
            self._state, self._error = state, error
            self._changed.notify_all()
