"""Train, Pause, Stop, and how far the run is."""

import html
from collections.abc import Callable

import ipywidgets as widgets

from pclora_lab.methods.registry import METHODS
from pclora_lab.runs.session import Session, SessionState
from pclora_lab.ui.monitor.status import status_line

__all__ = ["RunButtons"]

_PAUSE_HELP = "hold the run, or let it go on; also one that was stopped or whose kernel ended"


class RunButtons:
    """Three buttons, a bar and a line of text.

    Args:
        train: starts a run.
        pause_or_resume: holds it or lets it go on.
        stop: ends it.
        show_errors: runs an action and shows what goes wrong.

    Attributes:
        train: button.
        pause: button; it reads Resume where there is something to go on with.
        stop: button.
        status: the line.
        widget: to display.
    """

    def __init__(
        self,
        train: Callable[[], object],
        pause_or_resume: Callable[[], object],
        stop: Callable[[], object],
        show_errors: Callable[[Callable[[], object]], None],
    ) -> None:
        self._show_errors = show_errors
        self.train = self._button("Train", "play", "primary", train, "start a run")
        self.pause = self._button("Pause", "pause", "", pause_or_resume, _PAUSE_HELP)
        self.stop = self._button("Stop", "stop", "warning", stop, "end the run here")
        self.progress = widgets.FloatProgress(
            value=0, min=0, max=1, layout=widgets.Layout(width="200px")
        )
        self.status = widgets.HTML(value="ready")
        self.status.add_class("pclora-status")
        self.widget = widgets.HBox(
            [self.train, self.pause, self.stop, self.progress, self.status],
            layout=widgets.Layout(align_items="center", grid_gap="0 6px", flex_flow="row wrap"),
        )

    def _button(
        self, name: str, icon: str, style: str, action: Callable[[], object], tooltip: str
    ) -> widgets.Button:
        button = widgets.Button(
            description=name,
            icon=icon,
            button_style=style,
            tooltip=tooltip,
            layout=widgets.Layout(width="100px"),
        )
        button.on_click(lambda _: self._show_errors(action))
        return button

    def update(self, session: Session, snapshot: SessionState) -> None:
        """Follow a session's progress."""
        done = snapshot.step / snapshot.steps if snapshot.steps else 0
        self.progress.value = 1 if snapshot.state == "finished" else done
        self.status.value = html.escape(status_line(snapshot, METHODS[session.config.method.name]))

    def show_state(self, state: str, *, can_resume: bool) -> None:
        """Which buttons can be pressed.

        Args:
            state: of the session.
            can_resume: whether the run that is shown was stopped and can be taken up.
        """
        live = state in ("running", "paused")
        held = state == "paused" or can_resume
        self.pause.description = "Resume" if held else "Pause"
        self.pause.icon = "play" if held else "pause"
        self.pause.disabled = not live and not held
        self.stop.disabled = not live
