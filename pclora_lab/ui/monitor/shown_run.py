"""Which run a lab shows: the one that is going, or one of the folder."""

import html
import threading
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets

from pclora_lab.models.serialization import from_pretrained, save_pretrained
from pclora_lab.runs.reader import Run, load_run
from pclora_lab.runs.resuming import can_resume
from pclora_lab.runs.session import Session
from pclora_lab.runs.session_state import OVER, SessionState
from pclora_lab.tasks.registry import named_task
from pclora_lab.training.config import RunConfig
from pclora_lab.training.identity.record import RunChanged
from pclora_lab.ui.html import MessageBox, button, error_html
from pclora_lab.ui.monitor.active_run import ActiveRun
from pclora_lab.ui.monitor.buttons import RunButtons
from pclora_lab.ui.monitor.changes_question import ChangesQuestion
from pclora_lab.ui.monitor.export_button import ExportButton
from pclora_lab.ui.monitor.lambda_slider import LambdaSlider
from pclora_lab.ui.monitor.status import result_html
from pclora_lab.ui.monitor.tiles import Tiles
from pclora_lab.ui.views.views import RunViews
from pclora_lab.ui.widgets.page import Page

__all__ = ["ShownRun"]


class ShownRun:
    """Buttons, message, views and export of one run.

    Args:
        active: the session; its run is shown unless another one was opened.
        page: tells dark from light, and whether the browser draws our widgets.
        train: starts a run with the form's settings.
        on_over: called from a thread when the session is over.
        on_shown: called when another run is shown.
        on_rank: called with a rank that was dragged in the picture of a layer.

    Attributes:
        opened: a run of the folder that is shown instead of the session's, or None.
        buttons: the bar: train, pause, stop; progress and status.
        lambda_slider: λ by hand.
        message: result, error, or what was exported.
        changes: asks whether a run may go on with what changed since it began.
        views: curves, layers and examples.
        exports: takes the small model along.
        tiles: four large numbers.
        back: shows the run that is going again.
        config: of the run that is shown, or None.
        parts: the widgets, from top to bottom, without the bar.
    """

    def __init__(
        self,
        active: ActiveRun,
        page: Page,
        train: Callable[[], object],
        on_over: Callable[[], object],
        on_shown: Callable[[], object] = lambda: None,
        on_rank: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.active, self._on_over, self._on_shown = active, on_over, on_shown
        self.opened: Run | None = None
        self.config: RunConfig | None = None
        self._showing = threading.RLock()
        self.message = MessageBox("line-height:1.35;max-width:640px", with_type=True)
        self.message.add_class("pclora-message")
        self.views = RunViews(page, active.cache, self._drag_lambda, on_rank)
        self.lambda_slider = LambdaSlider(lambda: active.session, self.show_errors)
        self.buttons = RunButtons(train, self.pause_or_resume, active.stop, self.show_errors)
        self.changes = ChangesQuestion(self.resume_anyway, self.show_errors)
        name = lambda: (self._folder() or Path("compressed")).name  # noqa: E731
        self.exports = ExportButton(self._write_model, name, self.message, self.show_errors)
        self.tiles = Tiles(self.lambda_slider)
        self.buttons.widget.children += (self.lambda_slider.back,)
        self.back = button(
            "Back to the running run", "undo", "show the run that is going",
            lambda: self.show_errors(lambda: self.follow(self.active.require("follow"))),
        )  # fmt: skip
        self.parts: list[widgets.Widget] = [
            self.changes.widget, self.tiles.widget, *self.views.parts, self.message,
            self.exports.widget,
        ]  # fmt: skip
        self._show_state("new")

    def show_errors(self, action: Callable[[], object]) -> None:
        """Do it; what goes wrong is shown, and a result that is shown stays otherwise."""
        self.message.show_errors(action, clear=False)

    def _drag_lambda(self, lam: float) -> None:
        self.show_errors(lambda: self.lambda_slider.override_lambda(lam))

    def follow(self, session: Session) -> None:
        """Show a session, live."""
        self.active.stop_drawing()
        self.active.session, self.opened = session, None
        self.changes.take_back()
        self._begin(session.folder, session.config, "")
        self.active.draw(self.draw, self.message.show_error)

    def _begin(self, folder: Path | None, config: RunConfig, title: str) -> None:
        """Empty every view for another run."""
        self.config = config
        self.message.clear()
        self.tiles.clear()
        self.views.begin(folder, config, title)
        self._on_shown()

    def open(self, run: Run) -> None:
        """Show a run of the folder; the one that is going is followed.

        Raises:
            ValueError: it was made by a version with other settings.
        """
        if self.active.writes(run.folder):
            return self.follow(self.active.require("follow"))
        try:
            config = RunConfig.from_dict(run.config)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{run.folder.name} can't be shown: {error}") from error
        with self._showing:  # or a frame of the run that trains could be drawn after it
            self.opened = run
            self.changes.take_back()
            self._begin(run.folder, config, f"{run.folder.name} ({run.state or run.status})")
            self.views.update(run.rows)
            self.tiles.update(run.rows, named_task(config.task).ranking)
            self.lambda_slider.show_past(run.rows)
        self.exports.allow(run.result is not None)
        self.message.value = _outcome(run)
        if run.result is not None:
            self.tiles.show_result(run.result)
        self._show_state(self.active.state)
        # A run that goes on keeps its line: what is shown and what trains are two things.
        if not self.active.is_going:
            goes_on = "; Resume goes on with it" if self._left_off() is not None else ""
            text = f"shown: {run.folder.name}, {run.state or run.status}{goes_on}"
            self.buttons.status.value = html.escape(text)

    def follow_name(self, old: Path, new: Path) -> None:
        """A run was renamed; if it is the one that is shown, show it under its name."""
        was_shown = self._folder() == old
        session = self.active.session
        if session is not None and session.folder == old:
            session.folder = new
        if was_shown:
            self.open(load_run(new))

    def pause_or_resume(self) -> None:
        """Pause the run after its current step, or let it go on; take up one that was stopped.

        Raises:
            RuntimeError: there is no run.
            ValueError: the checkpoint of the run that is shown can't be read.
        """
        left_off = self._left_off()
        if left_off is None:
            return self.active.pause_or_resume()
        self.message.clear()
        self.follow(self.active.restore(left_off))

    def resume_anyway(self) -> None:
        """Take up the run that is shown with what is there now, though it changed.

        Raises:
            RuntimeError: it can't be taken up any more.
            ValueError: its checkpoint can't be read.
        """
        left_off = self._left_off()
        if left_off is None:
            raise RuntimeError("nothing to resume: the run goes on, has finished, or is gone")
        self.message.clear()
        self.follow(self.active.restore(left_off, allow_changes=True))

    def _folder(self) -> Path | None:
        return self.active.folder if self.opened is None else self.opened.folder

    def _left_off(self) -> Path | None:
        """The run that is shown, if it ended early and can be taken up."""
        folder = None if self.active.is_going else self._folder()
        return folder if folder is not None and can_resume(folder) else None

    def _write_model(self, folder: Path) -> Path:
        if self.opened is not None:
            return save_pretrained(from_pretrained(self.opened.folder / "compressed"), folder)
        return self.active.require("export").export(folder)

    def draw(self, session: Session, snapshot: SessionState) -> None:
        """One frame of the session, from a thread."""
        with self._showing:
            if self.opened is None:
                if (found := _other_task(snapshot, self.config)) is not None:
                    self._begin(session.folder, found, "")
                self._show_end(snapshot)
        self._show_state(snapshot.state)
        # The line comes after the buttons, so that whoever reads "stopped" may press them.
        self.buttons.update(session, snapshot, is_elsewhere=self.opened is not None)
        with self._showing:
            if self.opened is None:  # the run that trains is also the one that is shown
                self.lambda_slider.update(session, snapshot)
                self.views.update(snapshot.rows, self.lambda_slider.hand)
                config = snapshot.config or session.config
                self.tiles.update(snapshot.rows, named_task(config.task).ranking)
                if snapshot.result is not None:
                    self.tiles.show_result(snapshot.result)
        if snapshot.state in OVER:
            self._on_over()

    def _show_end(self, snapshot: SessionState) -> None:
        if isinstance(snapshot.error, RunChanged):
            self.changes.ask(snapshot.error)
        elif snapshot.error is not None:
            self.message.show_error(snapshot.error)
        if snapshot.state == "finished" and snapshot.result is not None:
            self.message.value = result_html(snapshot.result)

    def _show_state(self, state: str) -> None:
        self.buttons.show_state(state, can_resume=self._left_off() is not None)
        is_elsewhere = self.opened is not None and self.active.is_going
        self.back.layout.display = "" if is_elsewhere else "none"
        if self.opened is None:
            self.exports.allow(state == "finished")

    def release(self) -> None:
        """Stop drawing and let go of models and data; the run goes on."""
        self.active.release()
        self.views.forget()


def _other_task(snapshot: SessionState, shown: RunConfig | None) -> RunConfig | None:
    """The settings with the task that the data have told meanwhile: other metrics are drawn."""
    found = snapshot.config
    is_other = found is not None and shown is not None and found.task != shown.task
    return found if is_other else None


def _outcome(run: Run) -> str:
    """Result or error of a run that was read; files may be of another version."""
    if run.result is None:
        return error_html(run.error) if run.error else ""
    try:
        return result_html(run.result)
    except (KeyError, TypeError, ValueError) as error:
        return error_html(ValueError(f"the result is not of this version: {error!r}"))
