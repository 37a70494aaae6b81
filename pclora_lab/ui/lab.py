"""The lab: form, buttons, λ in the hand, views, runs; glued to a session."""

import html
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets
from IPython.display import display

from pclora_lab.data.cache import DataCache
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.models.embedded import EMBEDDED
from pclora_lab.models.serialization import from_pretrained, save_pretrained
from pclora_lab.plots.theme import apply_theme
from pclora_lab.runs.reader import Run, load_run, scan_runs
from pclora_lab.runs.resuming import can_resume
from pclora_lab.runs.session import OVER, Session, SessionState, live_session
from pclora_lab.training.config import RunConfig
from pclora_lab.training.loop import load_dense
from pclora_lab.ui.background import Refresher
from pclora_lab.ui.browser.run_browser import RunBrowser
from pclora_lab.ui.html import error_html
from pclora_lab.ui.monitor.buttons import RunButtons
from pclora_lab.ui.monitor.export_button import ExportButton
from pclora_lab.ui.monitor.lambda_slider import LambdaSlider
from pclora_lab.ui.monitor.live_plot import LiveView
from pclora_lab.ui.monitor.status import result_html
from pclora_lab.ui.monitor.views import RunViews
from pclora_lab.ui.ranks.panel import RankPanel
from pclora_lab.ui.settings.form import Controls
from pclora_lab.ui.widgets.page import Page, fit_width

__all__ = ["Lab"]

_SETTINGS, _RANKS, _RUNS = range(3)


_newest: "dict[Path, weakref.ref[Lab]]" = {}


class Lab:
    """Choose, train, watch, go back, compare, take the small model along.

    A lab made again, in a cell that is run twice or after the page was loaded anew, finds the run
    that is going; in a new kernel it shows the newest run of the folder.

    Args:
        config: what the form shows at first; while a run is going, its settings are shown.
        root: folder of runs.

    Attributes:
        controls: the form.
        buttons: train, pause, stop; progress and status.
        exports: takes the small model along.
        views: curves, layers and examples of the run that is shown.
        browser: all runs of the folder.
        session: the run that was started last, or None.
        opened: a run of the folder that is shown instead, or None.
    """

    def __init__(self, config: RunConfig | None = None, root: Path | str = "runs") -> None:
        self._painter: Refresher | None = None
        self._showing = threading.RLock()
        _allow_widgets_in_colab()
        self.root = Path(root).absolute()
        self.cache = DataCache()
        self.session: Session | None = live_session(self.root)
        self.opened: Run | None = None
        found = self.session.config if self.session is not None else config
        self.controls = Controls(found, self._refresh_ranks)
        self.page = Page()
        self.views = RunViews(self.page, self.cache)
        self.lambda_slider = LambdaSlider(lambda: self.session, self._show_errors)
        self.browser = RunBrowser(
            self.root,
            on_open=self.open,
            on_overlay=lambda runs: self._apply_theme(),
            on_again=self.take_over,
            on_renamed=self._follow_name,
            busy=self._is_training,
        )
        self.browser.pareto.button.observe(lambda _: self._apply_theme(), "value")
        self.ranks = RankPanel(
            self.root,
            on_ranks=self._use_ranks,
            busy=lambda: self.session is not None and self.session.state not in OVER,
        )
        self.message = widgets.HTML()
        self.buttons = RunButtons(self.train, self.pause_or_resume, self.stop, self._show_errors)
        self.exports = ExportButton(self._write_model, self._say, self._show_errors)
        self._arrange()
        self.page.observe(lambda _: self._apply_theme(), ["dark", "width"])
        self.page.observe(lambda change: self._begin_anew(change["old"]), "load")
        self._show_state("new")
        # Not a daemon: a process that ends while torch computes in one is aborted.
        threading.Thread(target=self._warm_up, args=(self.controls.base,)).start()
        self._show_errors(self._find_a_run)
        self._replace_older_lab()

    def _replace_older_lab(self) -> None:
        """An earlier lab on the same folder, whose cell was run again, is drawn no more."""
        place = self.root.resolve()
        before = _newest.get(place)
        if before is not None and before() is not None:
            before().close()
        _newest[place] = weakref.ref(self)

    @property
    def view(self) -> LiveView:
        """The four live panels."""
        return self.views.live

    def _arrange(self) -> None:
        self.choices = widgets.Tab(
            children=(self.controls.widget, self.ranks.widget, self.browser.widget),
            titles=("Settings", "What would it give?", "Runs"),
        )
        self.choices.add_class("pclora-choices")
        self.choices.observe(lambda _: self._show_errors(self._refresh_choices), "selected_index")
        self.widget = widgets.VBox(
            [
                self.page,
                self.choices,
                self.buttons.widget,
                self.lambda_slider.widget,
                self.message,
                self.views.widget,
                self.exports.widget,
            ]
        )
        # Names that a style sheet or a browser test can find.
        self.widget.add_class("pclora-lab")
        self.message.add_class("pclora-message")

    def _ipython_display_(self) -> None:
        self.views.shown_at = time.monotonic()
        display(self.widget)

    def _show_errors(self, action: Callable[[], object]) -> None:
        """An exception in a callback would vanish: show it in the lab instead."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - shown to the person who clicked
            self.message.value = error_html(error)

    def _warm_up(self, config: RunConfig) -> None:
        """Read what comes with the package before anybody presses Train; nothing is downloaded."""
        if config.model not in EMBEDDED:
            return
        try:
            data = self.cache.data(config)
            model = load_dense(config, data)
            self.cache.batches(data, preprocessing_of(model, config.img_size), config.model)
        except Exception:  # noqa: BLE001 - the run will say it, to the person who starts it
            return

    def _find_a_run(self) -> None:
        """Follow the run that is going, or show the newest one there is."""
        if self.session is not None:
            return self._follow(self.session)
        runs = [run for run in scan_runs(self.root) if isinstance(run, Run)]
        if runs:
            self.open(runs[0])

    def train(self) -> Session:
        """Start a run with the form's settings; returns at once.

        Raises:
            RuntimeError: a run of this lab is still going.
            ValueError: a setting is out of its range.
        """
        if self.session is not None and self.session.state not in OVER:
            raise RuntimeError(
                f"a run is already {self.session.state}: press Stop first, or wait for it"
            )
        self.message.value = ""
        session = Session(self.controls.config(), self.root, cache=self.cache)
        session.start()
        self._follow(session)
        return session

    def _follow(self, session: Session) -> None:
        self._stop_painting()
        self.session, self.opened = session, None
        self.views.begin(session.folder, session.config, session.folder.name)
        self._painter = Refresher(session, self._draw, self._on_error)
        self._painter.start()

    def _stop_painting(self) -> None:
        if self._painter is not None:
            self._painter.stop()
            self._painter = None

    def open(self, run: Run) -> None:
        """Show a run of the folder; the one that is going is followed.

        Raises:
            ValueError: it was made by a version with other settings.
        """
        session = self.session
        if session is not None and session.folder is not None:
            if session.folder.resolve() == run.folder.resolve() and session.state not in OVER:
                return self._follow(session)
        try:
            config = RunConfig.from_dict(run.config)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{run.folder.name} can't be shown: {error}") from error
        with self._showing:  # or a frame of the run that trains could be drawn after it
            self.opened = run
            self.views.begin(run.folder, config, f"{run.folder.name} ({run.status})")
            self.views.update(run.rows)
        self.exports.button.disabled = run.result is None
        self.message.value = _outcome(run)
        self._show_state("new" if session is None else session.state)
        # A run that goes on keeps its line: what is shown and what trains are two things.
        if session is None or session.state in OVER:
            goes_on = "; Resume goes on with it" if self._left_off() is not None else ""
            self.buttons.status.value = html.escape(
                f"shown: {run.folder.name}, {run.status}{goes_on}"
            )

    def _follow_name(self, old: Path, new: Path) -> None:
        """A run was renamed; if it is the one that is shown, show it under its name."""
        shown = self.opened or self.session
        was_shown = shown is not None and shown.folder == old
        if self.session is not None and self.session.folder == old:
            self.session.folder = new
        if was_shown:
            self.open(load_run(new))

    def take_over(self, config: RunConfig) -> None:
        """Put a run's settings into the form."""
        self.controls.show(config)
        self.choices.selected_index = _SETTINGS

    def _is_training(self, folder: Path) -> bool:
        session = self.session
        going = session is not None and session.state not in OVER and session.folder is not None
        return going and session.folder.resolve() == Path(folder).resolve()

    def pause_or_resume(self) -> None:
        """Hold the run after its current step, or let it go on; take up one that was stopped.

        Raises:
            RuntimeError: there is no run.
            ValueError: the checkpoint of the run that is shown can't be read.
        """
        left_off = self._left_off()
        if left_off is not None:
            self.message.value = ""
            return self._follow(Session.of_run(left_off, cache=self.cache).start())
        session = self._require_session("pause")
        if session.state == "paused":
            session.resume()
        else:
            session.pause()

    def _left_off(self) -> Path | None:
        """The run that is shown, if it ended early and can be taken up."""
        if self.session is not None and self.session.state not in OVER:
            return None
        shown = self.opened or self.session
        return shown.folder if shown is not None and can_resume(shown.folder) else None

    def stop(self) -> None:
        """End the run after its current step; what was logged is kept.

        Raises:
            RuntimeError: there is no run.
        """
        session = self._require_session("stop")
        if session.state in OVER:
            raise RuntimeError(f"nothing to stop: the run is {session.state}")
        session.stop(wait=False)

    def _write_model(self, folder: Path) -> Path:
        if self.opened is not None:
            return save_pretrained(from_pretrained(self.opened.folder / "compressed"), folder)
        return self._require_session("export").export(folder)

    def _say(self, words: str) -> None:
        self.message.value = words

    def _require_session(self, verb: str) -> Session:
        if self.session is None:
            raise RuntimeError(f"nothing to {verb}: press Train first")
        return self.session

    def _draw(self, session: Session, snapshot: SessionState) -> None:
        """One frame, from the painter's thread."""
        with self._showing:
            if self.opened is None:
                self._say_how_it_ended(snapshot)
        self.buttons.update(session, snapshot)
        self._show_state(snapshot.state)
        self.lambda_slider.update(session, snapshot)
        with self._showing:
            if self.opened is None:  # the run that trains is also the one that is shown
                self.views.update(snapshot.rows)
        if snapshot.state in OVER:
            self._refresh_runs()

    def _say_how_it_ended(self, snapshot: SessionState) -> None:
        if snapshot.error is not None:
            self.message.value = error_html(snapshot.error)
        if snapshot.state == "finished":
            self.message.value = result_html(snapshot.result)

    def _on_error(self, error: Exception) -> None:
        self.message.value = error_html(error)

    def _refresh_choices(self) -> None:
        self._refresh_runs()
        self._refresh_ranks()

    def _refresh_runs(self) -> None:
        if self.choices.selected_index == _RUNS:
            self.browser.refresh()

    def _refresh_ranks(self) -> None:
        """Say what the form's settings would give, if anybody looks."""
        if not hasattr(self, "choices") or self.choices.selected_index != _RANKS:
            return
        controls = self.controls
        if controls.counts is None:
            return self.ranks.clear()
        try:
            self.ranks.show(controls.counts, controls.described, controls.config())
        except ValueError as error:
            self.ranks.clear(error)

    def _use_ranks(self, ranks: dict[str, int] | None) -> None:
        self.controls.use_ranks(ranks)
        self.choices.selected_index = _SETTINGS

    def _begin_anew(self, loaded_before: str) -> None:
        if loaded_before:
            self.browser.forget_figures()
            self._apply_theme()

    def _apply_theme(self) -> None:
        """Fit the browser's figures to the page."""
        figures = (self.browser.overlay, self.browser.pareto.figure)
        for figure in (figure for figure in figures if figure is not None):
            apply_theme(figure, self.page.dark)
            fit_width(figure, self.page)

    def _show_state(self, state: str) -> None:
        self.buttons.show_state(state, can_resume=self._left_off() is not None)
        if self.opened is None:
            self.exports.button.disabled = state != "finished"

    def close(self) -> None:
        """Stop drawing and let go of models and data; the run goes on."""
        self._stop_painting()
        self.views.forget()
        self.cache = DataCache()


def _outcome(run: Run) -> str:
    """Result or error of a run that was read; files may be of another version."""
    if run.result is None:
        return error_html(run.error) if run.error else ""
    try:
        return result_html(run.result)
    except (KeyError, TypeError, ValueError) as error:
        return error_html(ValueError(f"the result is not of this version: {error!r}"))


def _allow_widgets_in_colab() -> None:
    """Colab draws widgets that are not its own only if it is told to."""
    if "google.colab" in sys.modules:
        sys.modules["google.colab"].output.enable_custom_widget_manager()
