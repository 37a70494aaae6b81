"""The bar of a run: Train, Pause, Stop, its parts, and the time left."""

import html
from collections.abc import Callable
from functools import partial

import ipywidgets as widgets

from pclora_lab.methods.registry import METHODS
from pclora_lab.runs.session import Session
from pclora_lab.runs.session_state import SessionState
from pclora_lab.ui.html import MessageBox, button
from pclora_lab.ui.monitor.phases import PhaseBar
from pclora_lab.ui.monitor.status import spoken_status, status_line

__all__ = ["RunButtons"]

_PAUSE_HELP = "hold the run, or let it go on; also one that was stopped or whose kernel ended"
_WIDTH = "100px"


class RunButtons:
    """Three buttons, the parts of the run and a line of text; what can't be used is hidden.

    Args:
        train: starts a run.
        pause_or_resume: holds it or lets it go on.
        stop: ends it.
        show_errors: runs an action and shows what goes wrong.

    Attributes:
        train: button.
        pause: button; it reads Resume where there is something to go on with.
        stop: button.
        phases: the parts of the run.
        status: the line.
        spoken: what a screen reader tells of it; the line itself changes several times a second.
        widget: to display.
    """

    def __init__(
        self,
        train: Callable[[], object],
        pause_or_resume: Callable[[], object],
        stop: Callable[[], object],
        show_errors: Callable[[Callable[[], object]], None],
    ) -> None:
        self.train = button(
            "Train", "play", "start a run", partial(show_errors, train),
            width=_WIDTH, style="primary",
        )  # fmt: skip
        self.pause = button(
            "Pause", "pause", _PAUSE_HELP, partial(show_errors, pause_or_resume), width=_WIDTH
        )
        self.stop = button(
            "Stop", "stop", "end the run here", partial(show_errors, stop),
            width=_WIDTH, style="warning",
        )  # fmt: skip
        self.phases = PhaseBar()
        self.status = widgets.HTML(value="ready")
        self.status.add_class("pclora-status")
        self.spoken = MessageBox("")
        self.spoken.add_class("pclora-spoken")
        self.widget = widgets.Box(
            [self.train, self.pause, self.stop, self.phases, self.status, self.spoken]
        )
        self.widget.add_class("pclora-bar")

    def update(
        self, session: Session, snapshot: SessionState, *, is_elsewhere: bool = False
    ) -> None:
        """Follow a session's progress.

        Args:
            session: the run.
            snapshot: where it is.
            is_elsewhere: whether another run is shown meanwhile.
        """
        method = METHODS[session.config.method.name]
        self.phases.show(snapshot.parts, fades=method.fades)
        line = status_line(snapshot, method)
        self.status.value = html.escape(f"another run is {line}" if is_elsewhere else line)
        self.spoken.show_text(spoken_status(snapshot, method))

    def show_state(self, state: str, *, can_resume: bool) -> None:
        """Which buttons can be pressed.

        Args:
            state: of the session.
            can_resume: whether the run that is shown was stopped and can be taken up.
        """
        live = state in ("running", "paused")
        resumes = state == "paused" or can_resume
        self.pause.description = "Resume" if resumes else "Pause"
        self.pause.icon = "play" if resumes else "pause"
        self.pause.disabled = not live and not resumes
        self.stop.disabled = not live
        for one, is_used in (
            (self.train, not live), (self.pause, not self.pause.disabled), (self.stop, live),
        ):  # fmt: skip
            one.layout.display = "" if is_used else "none"
