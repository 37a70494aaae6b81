"""The lab: form, ranks, runs and the run that is shown, glued to each other."""

import sys
import time
import weakref
from functools import partial
from pathlib import Path

from IPython.display import display

from pclora_lab.data.cache import DataCache
from pclora_lab.files import given_path
from pclora_lab.models.adapting import preprocessing_of
from pclora_lab.models.embedded import EMBEDDED
from pclora_lab.plots.theme import apply_theme
from pclora_lab.runs.background_run import BackgroundRun, unwatch_runs, watch_runs
from pclora_lab.runs.reader import Run, scan_runs
from pclora_lab.runs.session import Session
from pclora_lab.tasks.guessing import task_and_data
from pclora_lab.training.config import RunConfig
from pclora_lab.training.setup import load_dense
from pclora_lab.ui.arrangement import CURVES, RANKS, RUNS, Arrangement
from pclora_lab.ui.background import run_once
from pclora_lab.ui.browser.run_browser import RunBrowser
from pclora_lab.ui.closing import close_widgets
from pclora_lab.ui.monitor.active_run import ActiveRun
from pclora_lab.ui.monitor.shown_run import ShownRun
from pclora_lab.ui.outlook import Outlook
from pclora_lab.ui.ranks.panel import RankPanel
from pclora_lab.ui.settings.form import Controls
from pclora_lab.ui.shortcuts import Shortcuts
from pclora_lab.ui.widgets.page import Page

__all__ = ["Lab"]

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
        ranks: what the form's settings would give.
        browser: all runs of the folder.
        active: the session, and what can be done with it.
        shown: the run that is shown.
        buttons: train, pause, stop; progress and status.
        lambda_slider: λ by hand.
        message: result, error, or what was exported.
        exports: takes the small model along.
        views: curves, layers and examples of the run that is shown.
        arrangement: where everything stands.
        tabs: the run's views, what the settings would give, and all runs.
        widget: to display.
        page: tells dark from light.
    """

    def __init__(self, config: RunConfig | None = None, root: Path | str = "runs") -> None:
        _allow_widgets_in_colab()
        self.root = given_path(root, "root").absolute()
        self.active = ActiveRun(self.root, DataCache())
        self._outlook: Outlook | None = None  # it needs all that comes before it
        self.controls = Controls(
            config if self.session is None else self.session.config,
            self._refresh_outlook,
            self.cache,
            self.root,
        )
        self.page = Page()
        self.shown = ShownRun(
            self.active, self.page, self.train, self._refresh_choices, self._refresh_outlook,
            lambda rank: setattr(self.controls.rank, "value", rank),
        )  # fmt: skip
        self.buttons, self.lambda_slider = self.shown.buttons, self.shown.lambda_slider
        self.message, self.exports, self.views = (
            self.shown.message, self.shown.exports, self.shown.views,
        )  # fmt: skip
        self.browser = RunBrowser(
            self.root,
            on_open=self.open,
            on_again=self.take_over,
            on_renamed=self.shown.follow_name,
            busy=self.active.writes,
        )
        self.ranks = RankPanel(
            self.root, on_ranks=self._use_ranks, busy=lambda: self.active.is_going
        )
        self.arrangement = Arrangement(
            self.page, self.controls.widget, self.shown, self.ranks.widget, self.browser.widget
        )
        self.tabs, self.widget = self.arrangement.tabs, self.arrangement.widget
        self._outlook = Outlook(self.controls, self.shown, self.ranks, self.arrangement)
        self._listen()
        run_once(partial(_warm_up, self.controls.base, self.cache), self.shown.message.show_error)
        self.shown.show_errors(self._find_a_run)
        self._replace_older_lab()
        watch_runs(self)

    def _replace_older_lab(self) -> None:
        """An earlier lab on the same folder gives its place, wherever it is shown, and closes."""
        path = self.root.resolve()
        reference = _newest.get(path)
        older = None if reference is None else reference()
        if older is not None:
            self.arrangement.take_place_of(older.arrangement)
            self.widget, older.widget = self.arrangement.widget, older.arrangement.widget
            older.close()
        _newest[path] = weakref.ref(self)

    @property
    def session(self) -> Session | None:
        """The run that was started last, or None."""
        return self.active.session

    @property
    def opened(self) -> Run | None:
        """A run of the folder that is shown instead of the session's, or None."""
        return self.shown.opened

    @property
    def cache(self) -> DataCache:
        """Data of earlier runs in this process."""
        return self.active.cache

    def _listen(self) -> None:
        refresh = self._refresh_choices
        self.tabs.observe(lambda _: self.shown.show_errors(refresh), "selected_index")
        self.page.observe(lambda _: self._apply_theme(), "dark")
        self.page.on_key = Shortcuts(self.shown)
        self._apply_theme()

    def _ipython_display_(self) -> None:
        self.views.shown_at = time.monotonic()
        display(self.widget)

    def _find_a_run(self) -> None:
        """Follow the run that is going, or show the newest one there is."""
        if self.session is not None:
            return self.follow(self.session)
        runs = [run for run in scan_runs(self.root) if isinstance(run, Run)]
        if runs:
            self.open(runs[0])
        else:
            self.tabs.selected_index = RANKS

    def run_started(self, run: BackgroundRun) -> None:
        """Follow a run that a cell has started in this lab's folder."""
        if not isinstance(run, Session) or self.active.is_starting:
            return
        if run.root.resolve() == self.root.resolve():
            self.follow(run)

    def follow(self, session: Session) -> None:
        """Show a session, live, and make room for it."""
        self.shown.follow(session)
        self.arrangement.show_rail(False)
        if self.tabs.selected_index in (RANKS, RUNS):
            self.tabs.selected_index = CURVES

    def train(self) -> Session:
        """Start a run with the form's settings; returns at once.

        Raises:
            RuntimeError: a run of this lab is still going.
            ValueError: a setting is out of its range.
        """
        session = self.active.start(self.controls.config)
        self.message.clear()
        self.follow(session)
        return session

    def open(self, run: Run) -> None:
        """Show a run of the folder; the one that is going is followed.

        Raises:
            ValueError: it was made by a version with other settings.
        """
        self.shown.open(run)

    def take_over(self, config: RunConfig) -> None:
        """Put a run's settings into the form."""
        self.controls.show(config)
        self.arrangement.show_rail(True)

    def pause_or_resume(self) -> None:
        """Pause the run after its current step, or let it go on; take up one that was stopped.

        Raises:
            RuntimeError: there is no run.
            ValueError: the checkpoint of the run that is shown can't be read.
        """
        self.shown.pause_or_resume()

    def stop(self) -> None:
        """End the run after its current step; what was logged is kept.

        Raises:
            RuntimeError: there is no run, or it is over.
        """
        self.active.stop()

    def _refresh_choices(self) -> None:
        self._refresh_runs()
        self.controls.refresh_method()  # earlier runs tell how long the next will take

    def _refresh_runs(self) -> None:
        if self.tabs.selected_index == RUNS:
            self.browser.refresh()

    def _refresh_outlook(self) -> None:
        if self._outlook is not None:
            self._outlook.refresh()

    def _use_ranks(self, ranks: dict[str, int] | None) -> None:
        self.controls.use_ranks(ranks)
        self.arrangement.show_rail(True)

    def _apply_theme(self) -> None:
        """Fit the browser's charts to the page."""
        for chart in self.browser.charts:
            with chart.changing() as figure:
                apply_theme(figure, self.page.dark)

    def close(self) -> None:
        """Stop drawing, let go of models and data, close all widgets; the run goes on."""
        unwatch_runs(self)
        self.shown.release()
        close_widgets(self)


def _warm_up(config: RunConfig, cache: DataCache) -> None:
    """Read what comes with the package before anybody presses Train; nothing is downloaded."""
    if config.model not in EMBEDDED:
        return
    try:
        task, data = task_and_data(config, cache)
        model = load_dense(config, data, task)
        preprocessing = preprocessing_of(model, config.img_size)
        cache.batches(data, preprocessing, config.model, task.batches)
    except Exception:  # noqa: BLE001 - the run will show it to the person who starts it
        return


def _allow_widgets_in_colab() -> None:
    """Colab draws widgets that are not its own only if it is told to."""
    if "google.colab" in sys.modules:
        sys.modules["google.colab"].output.enable_custom_widget_manager()
