"""All runs of a folder: to sort, open, lay over each other, rename, delete and start again."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ipywidgets as widgets
from IPython.display import display

from pclora_lab.files import given_path
from pclora_lab.runs.reader import Run
from pclora_lab.training.config import RunConfig
from pclora_lab.training.lambda_override import check_overrides, overrides_to_repeat
from pclora_lab.ui.browser.overlay_panel import OverlayPanel
from pclora_lab.ui.browser.pareto_panel import ParetoPanel
from pclora_lab.ui.browser.run_changes import RunChanges
from pclora_lab.ui.browser.run_list import RunList
from pclora_lab.ui.html import MessageBox, button
from pclora_lab.ui.widgets.chart import Chart

__all__ = ["RunBrowser"]


class RunBrowser:
    """The runs below a folder. Everything is read from there, so a new kernel sees the same.

    Args:
        root: folder of runs.
        on_open: called with the run of the Open button, of Enter, or of a click on a point.
        on_again: called with the config of a run whose settings are wanted again.
        on_renamed: called with the old and the new folder.
        busy: whether a session of this kernel uses a folder; it is then not touched.

    Attributes:
        widget: to display.
        runs: which there are; see :class:`RunList`.
        table: the runs; ``selected`` by boxes, ``current`` by a click.
        changes: renames and deletes; see :class:`RunChanges`.
        overlays: several runs in one figure; see :class:`OverlayPanel`.
        pareto: what a task measures over size; see :class:`ParetoPanel`.
        message: errors, and what was done.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        on_open: Callable[[Run], None] | None = None,
        on_again: Callable[[RunConfig], None] | None = None,
        on_renamed: Callable[[Path, Path], None] | None = None,
        busy: Callable[[Path], bool] = lambda folder: False,
    ) -> None:
        self.root = given_path(root, "root")
        self._on_open, self._on_again = on_open, on_again
        self._refreshing = threading.RLock()
        self.message = MessageBox()
        self.message.add_class("pclora-runs-message")
        self._show_errors = self.message.show_errors
        self.runs, self.overlays = RunList(self.root), OverlayPanel()
        self.changes = RunChanges(
            self.runs,
            self.message,
            busy=busy,
            on_changed=self._follow_changes,
            on_renamed=on_renamed,
        )
        self.table = self.runs.table
        self.table.on_open(lambda name: self._show_errors(lambda: self.open(name)))
        self.table.observe(lambda _: self._follow_choice(), ["current", "selected"])
        self.pareto = ParetoPanel(
            lambda name: self._show_errors(lambda: self.open(name)), self._show_errors
        )
        self._make_buttons()
        self.widget = self._arrange()
        self._show_errors(self.refresh)

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Whatever follows the page's theme."""
        return self.overlays.chart, self.pareto.chart

    def _make_buttons(self) -> None:
        do = partial(partial, self._show_errors)
        self.open_button = button("Open", "folder-open", "show the current run", do(self.open))
        self.overlay_button = button(
            "Overlay", "line-chart", "draw the selected runs over each other",
            do(self.draw_overlay),
        )  # fmt: skip
        self.again_button = button(
            "Same settings again", "repeat", "take over the current run's settings", do(self.again)
        )
        self.refresh_button = button(
            "Refresh", "refresh", "read the folder again", do(self.refresh)
        )
        for made, wanted in (
            (self.open_button, self._on_open),
            (self.again_button, self._on_again),
        ):
            made.layout.display = "none" if wanted is None else ""

    def _arrange(self) -> widgets.VBox:
        line = widgets.Layout(flex_flow="row wrap", align_items="center")
        changes = self.changes
        first = [self.open_button, self.overlay_button, self.pareto.button, self.again_button]
        second = [changes.rename_button, changes.new_name, changes.delete_button]
        box = widgets.VBox(
            [
                self.table,
                widgets.HBox(first, layout=line),
                widgets.HBox([*second, self.refresh_button], layout=line),
                changes.question_box,
                self.message,
                self.overlays.widget,
                self.pareto.widget,
            ]
        )
        box.add_class("pclora-runs")
        return box

    def _ipython_display_(self) -> None:
        display(self.widget)

    def refresh(self) -> None:
        """Read the folder again; only what has changed there is read. From any thread.

        Raises:
            OSError: the root may not be read.
        """
        with self._refreshing:
            self.pareto.show(self.runs.refresh())
            self.overlays.update(self.runs.named(self.overlays.names))

    def _follow_choice(self) -> None:
        name = self.table.current
        self.changes.follow(name)
        problem = self.runs.problem(name)
        self.message.show_text(f"{name}: {problem}" if problem else "")

    def _follow_changes(self, old: str = "", new: str = "") -> None:
        self.overlays.rename(old, new)
        self.refresh()

    def open(self, name: str | None = None) -> None:
        """Hand a run on: the named one, or the current one.

        Raises:
            ValueError: no run is chosen, or it can't be read.
        """
        run = self.runs.readable(self.runs.chosen() if name is None else name)
        self.table.current = run.folder.name
        if self._on_open is not None:
            self._on_open(run)

    def draw_overlay(self) -> None:
        """Draw the selected runs into the one figure; without any, the current one.

        Raises:
            ValueError: none is selected that can be read.
        """
        names = self.runs.selected()
        runs = self.runs.named(names)
        if not runs:
            raise ValueError("none of the selected runs can be read: see the note in the table")
        self.overlays.draw(names, runs)

    def again(self) -> None:
        """Hand the current run's settings on.

        Raises:
            ValueError: this version can't run with them.
        """
        run = self.runs.readable(self.runs.chosen())
        try:
            planned = check_overrides(run.config.get("overrides") or ())
            overrides = overrides_to_repeat(run.rows, planned)
            config = RunConfig.from_dict({**run.config, "overrides": overrides})
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the settings of {run.folder.name} are not of this version: {error}"
            ) from error
        if self._on_again is not None:
            self._on_again(config)
            self.message.show_text(f"took over the settings of {run.folder.name}")
