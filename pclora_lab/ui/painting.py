"""A thread that draws a session now and then, and takes little from it."""

import atexit
import threading
import time
import weakref
from collections.abc import Callable

from pclora_lab.session import OVER, Session, Snapshot
from pclora_lab.threads import release_workers

__all__ = ["Painter"]

_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_BETWEEN_FRAMES = 0.3
_LONGEST_PAUSE = 3.0
# Drawing takes the interpreter away from the training loop: no more than this share of the time.
_SHARE_FOR_DRAWING = 0.015
# The first points are what a person waits for, whatever they cost.
_URGENT_ROWS = 3
_painters: "weakref.WeakSet[Painter]" = weakref.WeakSet()


class Painter:
    """Looks at a session twenty times a second and draws it when enough time has passed.

    Args:
        session: to follow until it is over.
        draw: draws one frame.
        complain: shows what went wrong while drawing.
    """

    def __init__(
        self,
        session: Session,
        draw: Callable[[Session, Snapshot], None],
        complain: Callable[[Exception], None],
    ) -> None:
        self.session, self._draw, self._complain = session, draw, complain
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

    def _frame(self, snapshot: Snapshot) -> None:
        try:
            with self._drawing:
                if not self._stopped.is_set():
                    self._draw(self.session, snapshot)
            release_workers()  # a look at layers computes, and this thread lives as long as the run
        except Exception as error:  # noqa: BLE001 - a thread's exception would vanish
            self._complain(error)


def _fade_rows(snapshot: Snapshot) -> int:
    return sum(row.get("phase") == "fade" for row in snapshot.rows[-_URGENT_ROWS:])


def _stop_all() -> None:
    for painter in list(_painters):
        painter.stop()


# A process that ends while such a thread is inside a library's drawing is aborted.
atexit.register(_stop_all)
