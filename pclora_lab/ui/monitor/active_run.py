"""Which session a lab follows: started, paused, taken up, stopped, and drawn until it is over."""

from collections.abc import Callable
from pathlib import Path

from pclora_lab.data.cache import DataCache
from pclora_lab.runs.session import Session, live_session
from pclora_lab.runs.session_state import OVER, SessionState
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.background import Refresher

__all__ = ["ActiveRun"]


class ActiveRun:
    """The run that is going, or that was started last.

    Args:
        root: folder of runs; a run that is going there is found.
        cache: data of earlier runs in this process.

    Attributes:
        session: the run, or None.
        cache: as given, until :meth:`release`.
        refresher: what draws the session, or None.
        is_starting: while a run is being started from here.
    """

    def __init__(self, root: Path, cache: DataCache) -> None:
        self.root, self.cache = root, cache
        self.session: Session | None = live_session(root)
        self.refresher: Refresher | None = None
        self.is_starting = False

    @property
    def is_going(self) -> bool:
        """Whether there is a session that is not over."""
        return self.session is not None and self.session.state not in OVER

    @property
    def state(self) -> str:
        """Of the session; ``new`` without one."""
        return "new" if self.session is None else self.session.state

    @property
    def folder(self) -> Path | None:
        """Of the session; None before it has one."""
        return None if self.session is None else self.session.folder

    def writes(self, folder: Path | str) -> bool:
        """Whether the run that is going writes into a folder."""
        own = self.folder if self.is_going else None
        return own is not None and own.resolve() == Path(folder).resolve()

    def start(self, config: Callable[[], RunConfig]) -> Session:
        """Start a run; returns at once.

        Args:
            config: gives the settings; asked only if no run is going.

        Raises:
            RuntimeError: a run is still going.
        """
        if self.is_going:
            raise RuntimeError(f"a run is already {self.state}: press Stop first, or wait for it")
        return self._begin(Session(config(), self.root, cache=self.cache))

    def restore(self, folder: Path, *, allow_changes: bool = False) -> Session:
        """Go on with a run that was stopped.

        Args:
            folder: of the run.
            allow_changes: also with other data, another model or other settings.

        Raises:
            ValueError: its checkpoint can't be read.
        """
        return self._begin(Session.of_run(folder, cache=self.cache, allow_changes=allow_changes))

    def _begin(self, session: Session) -> Session:
        self.is_starting = True
        try:
            self.session = session.start()
        finally:
            self.is_starting = False
        return session

    def pause_or_resume(self) -> None:
        """Pause after the current step, or let the run go on.

        Raises:
            RuntimeError: there is no run.
        """
        session = self.require("pause")
        if session.state == "paused":
            session.resume()
        else:
            session.pause()

    def stop(self) -> None:
        """End the run after its current step; what was logged is kept.

        Raises:
            RuntimeError: there is no run, or it is over.
        """
        session = self.require("stop")
        if session.state in OVER:
            raise RuntimeError(f"nothing to stop: the run is {session.state}")
        session.stop(wait=False)

    def require(self, verb: str) -> Session:
        """The session.

        Raises:
            RuntimeError: there is none.
        """
        if self.session is None:
            raise RuntimeError(f"nothing to {verb}: press Train first")
        return self.session

    def draw(
        self,
        frame: Callable[[Session, SessionState], object],
        on_error: Callable[[Exception], object],
    ) -> None:
        """Draw the session in the background until it is over; what was drawn before is let go.

        Raises:
            RuntimeError: there is no run.
        """
        self.stop_drawing()
        self.refresher = Refresher(self.require("draw"), frame, on_error)
        self.refresher.start()

    def stop_drawing(self) -> None:
        """No frame is drawn after this returns; the run goes on."""
        if self.refresher is not None:
            self.refresher.stop()
            self.refresher = None

    def release(self) -> None:
        """Stop drawing and let go of the data; the run goes on."""
        self.stop_drawing()
        self.cache = DataCache()
