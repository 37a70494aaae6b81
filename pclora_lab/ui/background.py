"""Threads beside the notebook's own: one loop, what draws a session with it, and what works."""

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Generator

from pclora_lab.nn.runtime.openmp import release_workers
from pclora_lab.runs.session import Session
from pclora_lab.runs.session_state import OVER, SessionState
from pclora_lab.ui.html import live_text

__all__ = ["BackgroundLoop", "BackgroundTask", "Refresher", "run_once"]

Steps = Generator[float, None, None]

_SECONDS_BETWEEN_LOOKS = 0.05


_SECONDS_BETWEEN_FRAMES = 0.3


_LONGEST_PAUSE = 3.0


# Drawing takes the interpreter away from the training loop: no more than this share of the time.
_SHARE_FOR_DRAWING = 0.012


# The first points are what a person waits for, whatever they cost.
_URGENT_ROWS = 3


# A process that ends waits so long for a step that is under way.
_LONGEST_STEP = 30.0


_loops: "weakref.WeakSet[BackgroundLoop]" = weakref.WeakSet()


class BackgroundLoop:
    """Goes through steps in a thread of its own until they are over or it is stopped.

    Args:
        steps: every ``next`` does one step and gives the seconds to wait after it. It is closed in
            the thread at the end, so that its ``finally`` runs there.
        on_error: shows what a step raised; nothing comes after it.

    Example:
        >>> def count():
        ...     for i in range(3):
        ...         seen.append(i)
        ...         yield 0.001
        >>> seen, loop = [], BackgroundLoop(count(), print)
        >>> loop.start()
        >>> loop.wait(10)
        >>> seen
        [0, 1, 2]
    """

    def __init__(self, steps: Steps, on_error: Callable[[Exception], object]) -> None:
        self._steps, self._on_error = steps, on_error
        self._stopped = threading.Event()
        self._stepping = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin, and return at once."""
        _loops.add(self)
        self._thread.start()

    def stop(self, seconds: float = -1) -> None:
        """Begin no step after the one under way, and wait for that one.

        Args:
            seconds: to wait at most; without a limit by default.
        """
        self._stopped.set()
        if self._thread is not threading.current_thread():
            if self._stepping.acquire(timeout=seconds):
                self._stepping.release()

    def wait(self, seconds: float | None = None) -> None:
        """Until it is over."""
        self._thread.join(seconds)

    def _run(self) -> None:
        pause: float | None = 0.0
        while pause is not None and not self._stopped.wait(pause):
            pause = self._step()
            release_workers()  # a step may compute, and this thread lives longer than it
        self._steps.close()

    def _step(self) -> float | None:
        """Seconds to wait before the next step; None if there is none."""
        with self._stepping:
            if self._stopped.is_set():
                return None
            try:
                return next(self._steps, None)
            except Exception as error:  # noqa: BLE001 - a thread's exception would vanish
                self._on_error(error)
                return None


def _stop_all() -> None:
    for loop in list(_loops):
        loop.stop(_LONGEST_STEP)


# A process that ends while such a thread is inside a library's code is aborted.
atexit.register(_stop_all)


def run_once(work: Callable[[], object], on_error: Callable[[Exception], object]) -> BackgroundLoop:
    """Do one thing in the background; returns the loop that does it, to wait for."""

    def steps() -> Steps:
        work()
        yield 0.0

    loop = BackgroundLoop(steps(), on_error)
    loop.start()
    return loop


class Refresher(BackgroundLoop):
    """Looks at a session twenty times a second and draws it when enough time has passed.

    Args:
        session: to follow until it is over.
        draw: draws one frame.
        on_error: shows what went wrong while drawing; the next frame is tried all the same.
    """

    def __init__(
        self,
        session: Session,
        draw: Callable[[Session, SessionState], object],
        on_error: Callable[[Exception], object],
    ) -> None:
        super().__init__(self._frames(), on_error)
        self.session, self._draw = session, draw

    def _frames(self) -> Steps:
        pause, last = 0.0, 0.0
        seen: object = None
        while True:
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
            yield _SECONDS_BETWEEN_LOOKS

    def _frame(self, snapshot: SessionState) -> None:
        try:
            self._draw(self.session, snapshot)
        except Exception as error:  # noqa: BLE001 - a thread's exception would vanish
            self._on_error(error)


def _fade_rows(snapshot: SessionState) -> int:
    return sum(row.get("phase") == "fade" for row in snapshot.rows[-_URGENT_ROWS:])


class BackgroundTask:
    """One piece of work at a time, in the background, and none while a run is going.

    Args:
        busy: whether a run is going.
        on_change: called when work begins and when it has ended.

    Attributes:
        message: where errors are shown.
        working: whether something is being done.

    Example:
        >>> task, done = BackgroundTask(lambda: False, lambda: None), []
        >>> task.start(lambda: done.append("measured"))
        >>> task.wait()
        >>> done
        ['measured']
    """

    def __init__(self, busy: Callable[[], bool], on_change: Callable[[], None]) -> None:
        self.busy, self.on_change = busy, on_change
        self.message, self.working = live_text(), False
        self.show_errors = self.message.show_errors
        self._loop: BackgroundLoop | None = None

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

    def start(self, work: Callable[[], object]) -> None:
        """Do it in the background; an error is shown in :attr:`message`."""

        def run() -> None:
            self.show_errors(work)
            self.working = False
            self.on_change()

        self.working = True
        self.on_change()
        self._loop = run_once(run, self.message.show_error)

    def wait(self, seconds: float = 60) -> None:
        """Until the work has ended, for scripts and tests."""
        if self._loop is not None:
            self._loop.wait(seconds)
