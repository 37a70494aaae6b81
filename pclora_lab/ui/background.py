"""Threads beside the notebook's own: one draws a session now and then, one does a piece of work."""

import atexit
import threading
import time
import weakref
from collections.abc import Callable

from pclora_lab.runs.session import OVER, Session, SessionState
from pclora_lab.training.openmp import release_workers
from pclora_lab.ui.html import error_text, live_text

__all__ = ["Refresher", "BackgroundTask"]

_SECONDS_BETWEEN_LOOKS = 0.05


_SECONDS_BETWEEN_FRAMES = 0.3


_LONGEST_PAUSE = 3.0


# Drawing takes the interpreter away from the training loop: no more than this share of the time.
_SHARE_FOR_DRAWING = 0.015


# The first points are what a person waits for, whatever they cost.
_URGENT_ROWS = 3


_painters: "weakref.WeakSet[Refresher]" = weakref.WeakSet()


class Refresher:
    """Looks at a session twenty times a second and draws it when enough time has passed.

    Args:
        session: to follow until it is over.
        draw: draws one frame.
        on_error: shows what went wrong while drawing.
    """

    def __init__(
        self,
        session: Session,
        draw: Callable[[Session, SessionState], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.session, self._draw, self._on_error = session, draw, on_error
        self._stopped = threading.Event()
        self._drawing = threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin to draw in the background."""
        _painters.add(self)
        self._thread.start()

    def stop(self) -> None:
        """No frame is drawn after this returns."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            with self._drawing:
                return

    def _work(self) -> None:
        pause, last, seen = 0.0, 0.0, None
        while not self._stopped.is_set():
            snapshot = self.session.snapshot()
            facts = (snapshot.state, snapshot.phase, min(_fade_rows(snapshot), _URGENT_ROWS))
            if facts != seen or time.monotonic() - last >= pause:
                began = time.perf_counter()
                self._frame(snapshot)
                took = time.perf_counter() - began
                pause = max(_SECONDS_BETWEEN_FRAMES, min(took / _SHARE_FOR_DRAWING, _LONGEST_PAUSE))
                last, seen = time.monotonic(), facts
            if snapshot.state in OVER:
                return
            self._stopped.wait(_SECONDS_BETWEEN_LOOKS)

    def _frame(self, snapshot: SessionState) -> None:
        try:
            with self._drawing:
                if not self._stopped.is_set():
                    self._draw(self.session, snapshot)
            release_workers()  # a look at layers computes, and this thread lives as long as the run
        except Exception as error:  # noqa: BLE001 - a thread's exception would vanish
            self._on_error(error)


def _fade_rows(snapshot: SessionState) -> int:
    return sum(row.get("phase") == "fade" for row in snapshot.rows[-_URGENT_ROWS:])


def _stop_all() -> None:
    for painter in list(_painters):
        painter.stop()


# A process that ends while such a thread is inside a library's drawing is aborted.
atexit.register(_stop_all)


class BackgroundTask:
    """One piece of work at a time, in a thread of its own, and none while a run is going.

    Args:
        busy: whether a run is going.
        on_change: called when work begins and when it has ended.

    Attributes:
        message: where errors are shown.

    Example:
        >>> worker, done = BackgroundTask(lambda: False, lambda: None), []
        >>> worker.start(lambda: done.append("measured"))
        >>> worker.wait()
        >>> done
        ['measured']
    """

    def __init__(self, busy: Callable[[], bool], on_change: Callable[[], None]) -> None:
        self.busy, self.on_change = busy, on_change
        self.message = live_text()
        self._thread: threading.Thread | None = None

    @property
    def working(self) -> bool:
        """Whether something is being done."""
        return self._thread is not None

    def require_rest(self, what: str) -> None:
        """Refuse to begin where something else is going on.

        Raises:
            RuntimeError: a run is going, or other work; says what to do.
        """
        if self.working:
            raise RuntimeError("something is being measured or loaded: wait until it is done")
        if self.busy():
            raise RuntimeError(
                f"a run is going: nothing is {what} meanwhile, as both would be slower. Wait for "
                "it, or press Stop"
            )

    def start(self, work: Callable[[], None]) -> None:
        """Do it in the background; an error is shown in :attr:`message`."""

        def run() -> None:
            try:
                self.show_errors(work)
            finally:
                self._thread = None
                self.on_change()

        self._thread = threading.Thread(target=run, daemon=True)
        self.on_change()
        self._thread.start()

    def wait(self, seconds: float = 60) -> None:
        """Until the work has ended, for scripts and tests."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def show_errors(self, action: Callable[[], None]) -> None:
        """An exception in a callback or a thread would vanish: show it instead."""
        self.message.value = ""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - shown to the person who clicked
            self.message.value = error_text(error)
