"""The lab: the form, the buttons and the live figure, glued to a session."""

import html
import threading
import time
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets
from IPython.display import display

from pclora_lab.config import RunConfig
from pclora_lab.methods import METHODS
from pclora_lab.report import result_lines
from pclora_lab.session import Session, Snapshot, stop_all
from pclora_lab.ui.controls import Controls, error_html
from pclora_lab.ui.live import LiveView

__all__ = ["Lab"]

_SECONDS_BETWEEN_FRAMES = 0.3
# Drawing takes the interpreter away from the training loop: no more than this share of the time.
_SHARE_FOR_DRAWING = 0.015
_OVER = ("finished", "stopped", "failed")


class Lab:
    """Choose, train, watch, take the small model along.

    Making a lab stops whatever an earlier one still runs, so its cell can be run again.

    Args:
        config: what the form shows at first.
        root: folder of runs.

    Attributes:
        controls: the form.
        view: the live figure.
        session: the run that was started last, or None.
    """

    def __init__(self, config: RunConfig | None = None, root: Path | str = "runs") -> None:
        stop_all()
        self.root = Path(root)
        self.controls = Controls(config)
        self.view = LiveView()
        self.session: Session | None = None
        self._painter: threading.Thread | None = None
        self._drawing = threading.Lock()
        self._make_buttons()
        self.progress = widgets.FloatProgress(
            value=0, min=0, max=1, layout=widgets.Layout(width="200px")
        )
        self.status = widgets.HTML(value="ready")
        self.message = widgets.HTML()
        self.widget = widgets.VBox(
            [
                self.controls.widget,
                widgets.HBox(
                    [self.train_button, self.pause_button, self.stop_button, self.progress]
                    + [self.status],
                    layout=widgets.Layout(align_items="center", grid_gap="0 6px"),
                ),
                self.message,
                self.view.figure,
                widgets.HBox([self.export_button, self.export_folder]),
            ]
        )
        # Names that a style sheet or a browser test can find.
        self.widget.add_class("pclora-lab")
        self.status.add_class("pclora-status")
        self.message.add_class("pclora-message")
        self._show_state("new")

    def _make_buttons(self) -> None:
        self.train_button = _button("Train", "play", "primary", self._guarded(self.train))
        self.pause_button = _button("Pause", "pause", "", self._guarded(self.pause_or_resume))
        self.stop_button = _button("Stop", "stop", "warning", self._guarded(self.stop))
        self.export_button = _button("Export", "download", "success", self._guarded(self.export))
        self.export_folder = widgets.Text(
            value="exported",
            description="to folder",
            layout=widgets.Layout(width="420px"),
            continuous_update=False,
        )

    def _ipython_display_(self) -> None:
        display(self.widget)

    def _guarded(self, action: Callable[[], None]) -> Callable[[widgets.Button], None]:
        """An exception in a callback would vanish: show it in the lab instead."""

        def run(_: widgets.Button) -> None:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - shown to the person who clicked
                self.message.value = error_html(error)

        return run

    def train(self) -> Session:
        """Start a run with the form's settings; returns at once.

        Raises:
            RuntimeError: a run of this lab is still going.
            ValueError: a setting is out of its range.
        """
        if self.session is not None and self.session.state not in _OVER:
            raise RuntimeError(
                f"a run is already {self.session.state}: press Stop first, or wait for it"
            )
        self.message.value = ""
        config = self.controls.config()
        session = Session(config, self.root).start()
        # An earlier run's last frame must not land in the cleared figure.
        with self._drawing:
            self.session = session
            self.view.clear(config.steps, METHODS[config.method.name].reports)
        self._painter = threading.Thread(target=self._paint, args=(self.session,), daemon=True)
        self._painter.start()
        return self.session

    def pause_or_resume(self) -> None:
        """Hold the run after its current step, or let it go on.

        Raises:
            RuntimeError: there is no run.
        """
        session = self._require_session("pause")
        if session.state == "paused":
            session.resume()
        else:
            session.pause()

    def stop(self) -> None:
        """End the run after its current step; what was logged is kept.

        Raises:
            RuntimeError: there is no run.
        """
        session = self._require_session("stop")
        if session.state in _OVER:
            raise RuntimeError(f"nothing to stop: the run is {session.state}")
        session.stop(wait=False)

    def export(self) -> Path:
        """Write the compressed model to the folder in the text field.

        Raises:
            RuntimeError: no run has finished.
            ValueError: no folder is named, or another model is in it.
        """
        session, name = self._require_session("export"), self.export_folder.value.strip()
        if not name:
            raise ValueError("no folder to export to: write its name beside the button")
        folder = session.export(Path(name).expanduser())
        self.message.value = (
            f"exported to <code>{html.escape(str(folder.resolve()))}</code>; read it with "
            f"<code>from_pretrained({html.escape(repr(str(folder)))})</code>"
        )
        return folder

    def _require_session(self, verb: str) -> Session:
        if self.session is None:
            raise RuntimeError(f"nothing to {verb}: press Train first")
        return self.session

    def _paint(self, session: Session) -> None:
        """Follow a session at a few frames per second until it is over."""
        while session is self.session:
            began = time.perf_counter()
            snapshot = session.snapshot()
            try:
                with self._drawing:
                    if session is self.session:
                        self._draw(snapshot)
            except Exception as error:  # noqa: BLE001 - a thread's exception would vanish
                self.message.value = error_html(error)
            if snapshot.state in _OVER:
                return
            took = time.perf_counter() - began
            time.sleep(max(_SECONDS_BETWEEN_FRAMES, min(took / _SHARE_FOR_DRAWING, 3)))

    def _draw(self, snapshot: Snapshot) -> None:
        self.view.update(snapshot.rows, self.session.config.steps)
        self.progress.value = snapshot.step / snapshot.steps if snapshot.steps else 0
        doing = METHODS[self.session.config.method.name].doing
        self.status.value = html.escape(_status_line(snapshot, doing))
        self._show_state(snapshot.state)
        if snapshot.error is not None:
            self.message.value = error_html(snapshot.error)
        if snapshot.state == "finished":
            self.progress.value = 1
            self.message.value = _result_html(snapshot)

    def _show_state(self, state: str) -> None:
        live = state in ("running", "paused")
        self.pause_button.description = "Resume" if state == "paused" else "Pause"
        self.pause_button.icon = "play" if state == "paused" else "pause"
        self.pause_button.disabled = self.stop_button.disabled = not live
        self.export_button.disabled = state != "finished"


def _button(
    name: str, icon: str, style: str, action: Callable[[widgets.Button], None]
) -> widgets.Button:
    button = widgets.Button(
        description=name, icon=icon, button_style=style, layout=widgets.Layout(width="100px")
    )
    button.on_click(action)
    return button


_PHASES = {
    "": "starting",
    "data": "reading data and model",
    "teacher": "fine-tuning the teacher",
    "start": "preparing the start",
    "test": "measuring on the test split",
}


def _status_line(snapshot: Snapshot, doing: str) -> str:
    if snapshot.state in _OVER:
        return snapshot.state
    line = ("stopping, " if snapshot.stopping else "") + _PHASES.get(snapshot.phase, doing)
    if snapshot.steps:
        line += f": step {snapshot.step} of {snapshot.steps}"
    if snapshot.eta_seconds is not None:
        line += f", {_duration(snapshot.eta_seconds)} left"
    return f"paused ({line})" if snapshot.state == "paused" else line


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _result_html(snapshot: Snapshot) -> str:
    cells = "".join(
        f"<tr><td>{html.escape(label)}</td><td><b>{html.escape(value)}</b></td></tr>"
        for label, value in result_lines(snapshot.result)
    )
    return f'<table style="line-height:1.4">{cells}</table>'
