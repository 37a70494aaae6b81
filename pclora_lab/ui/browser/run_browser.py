"""All runs of a folder: to sort, open, lay over each other, rename, delete and start again."""

import html
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from pclora_lab.plots.overlay import fill_overlay, overlay_figure
from pclora_lab.runs.folder import delete_run, is_being_written, rename_run
from pclora_lab.runs.reader import Run, UnreadableRun, scan_runs
from pclora_lab.training.config import RunConfig
from pclora_lab.training.lambda_override import check_overrides, overrides_to_repeat
from pclora_lab.ui.browser.pareto_panel import ParetoPanel
from pclora_lab.ui.browser.table_rows import table_columns, table_row
from pclora_lab.ui.widgets.page import responsive
from pclora_lab.ui.widgets.table import Table

__all__ = ["RunBrowser"]

_HIDDEN, _SHOWN = "none", ""


_MOST_NAMES = 5


class RunBrowser:
    """The runs below a folder. Everything is read from there, so a new kernel sees the same.

    Args:
        root: folder of runs.
        on_open: called with the run of the Open button, of Enter, or of a click on a point.
        on_overlay: called with the runs that were laid over each other, after they are drawn.
        on_again: called with the config of a run whose settings are wanted again.
        on_renamed: called with the old and the new folder.
        busy: says of a folder that a session of this kernel uses it; it is then not touched.

    Attributes:
        widget: to display.
        table: the runs; ``selected`` by boxes, ``current`` by a click.
        overlay: the figure of several runs, or None until one is asked for.
        pareto: accuracy over size; see :class:`ParetoPanel`.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        on_open: Callable[[Run], None] | None = None,
        on_overlay: Callable[[Sequence[Run]], None] | None = None,
        on_again: Callable[[RunConfig], None] | None = None,
        on_renamed: Callable[[Path, Path], None] | None = None,
        busy: Callable[[Path], bool] = lambda folder: False,
    ) -> None:
        self.root = Path(root)
        self._on_open, self._on_overlay, self._on_again = on_open, on_overlay, on_again
        self._on_renamed = on_renamed
        self._busy, self._refreshing = busy, threading.RLock()
        self._known: dict[Path, Any] = {}
        self._entries: dict[str, Run | UnreadableRun] = {}
        self._overlaid: tuple[str, ...] = ()
        self._doomed: tuple[str, ...] = ()
        self.overlay: go.FigureWidget | None = None
        self.table = Table(table_columns(), label="runs")
        self.table.on_open(lambda name: self._show_errors(lambda: self.open(name)))
        self.table.observe(lambda _: self._follow_choice(), ["current", "selected"])
        self._make_buttons()
        self._make_question()
        self.message = widgets.HTML()
        self.message.add_class("pclora-runs-message")
        self._overlay_place = widgets.VBox()
        self.pareto = ParetoPanel(
            lambda name: self._show_errors(lambda: self.open(name)), self._show_errors
        )
        self.widget = self._arrange()
        self._show_errors(self.refresh)

    def _make_buttons(self) -> None:
        make = self._button
        self.open_button = make("Open", "folder-open", "show the current run", self.open)
        self.overlay_button = make(
            "Overlay", "line-chart", "draw the selected runs over each other", self.draw_overlay
        )
        self.again_button = make(
            "Same settings again", "repeat", "take over the current run's settings", self.again
        )
        self.refresh_button = make("Refresh", "refresh", "read the folder again", self.refresh)
        self.delete_button = make("Delete", "trash", "delete the selected runs", self.ask_to_delete)
        self.rename_button = make("Rename", "pencil", "rename the current run", self.rename)
        self.new_name = widgets.Text(
            placeholder="new name of the current run",
            tooltip="new name of the current run",
            layout=widgets.Layout(width="300px"),
        )
        for button, wanted in (
            (self.open_button, self._on_open),
            (self.again_button, self._on_again),
        ):
            button.layout.display = _SHOWN if wanted is not None else _HIDDEN

    def _button(
        self, name: str, icon: str, tooltip: str, action: Callable[[], Any], **more: Any
    ) -> widgets.Button:
        layout = widgets.Layout(width="auto")
        button = widgets.Button(description=name, icon=icon, tooltip=tooltip, layout=layout, **more)
        button.on_click(lambda _: self._show_errors(action))
        return button

    def _make_question(self) -> None:
        """The question is asked in place; it names what would go."""
        self.question = widgets.HTML()
        yes = self._button("Yes", "check", "delete them", self.delete, button_style="danger")
        no = self._button("No", "times", "keep them", self._ask_nothing)
        self.yes_button, self.no_button = yes, no
        self._question_box = widgets.HBox([self.question, yes, no])
        self._question_box.layout.display = _HIDDEN
        self._question_box.layout.align_items = "center"
        self._question_box.add_class("pclora-runs-question")

    def _arrange(self) -> widgets.VBox:
        line = widgets.Layout(flex_flow="row wrap", align_items="center")
        first = [self.open_button, self.overlay_button, self.pareto.button, self.again_button]
        second = [self.rename_button, self.new_name, self.delete_button, self.refresh_button]
        box = widgets.VBox(
            [
                self.table,
                widgets.HBox(first, layout=line),
                widgets.HBox(second, layout=line),
                self._question_box,
                self.message,
                self._overlay_place,
                self.pareto.widget,
            ]
        )
        box.add_class("pclora-runs")
        return box

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)

    def _show_errors(self, action: Callable[[], Any]) -> None:
        """An exception in a callback would vanish: show it below the buttons instead."""
        self.message.value = ""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - shown to the person who clicked
            self._say(f"{error}", alert=True)

    def _say(self, text: str, *, alert: bool = False) -> None:
        kind = 'role="alert" style="color:var(--jp-error-color1,#b00020);line-height:1.4"'
        calm = 'role="status" style="line-height:1.4"'
        self.message.value = f"<div {kind if alert else calm}>{html.escape(text)}</div>"

    def refresh(self) -> None:
        """Read the folder again; only what has changed there is read. From any thread.

        Raises:
            OSError: the root may not be read.
        """
        with self._refreshing:
            entries = scan_runs(self.root, self._known)
            self._entries = {entry.folder.name: entry for entry in entries}
            self.table.rows = [table_row(entry) for entry in entries]
            self.pareto.show([entry for entry in entries if isinstance(entry, Run)])
            if self.overlay is not None:
                self._fill_overlay(self._runs(self._overlaid))

    def _runs(self, names: Sequence[str]) -> list[Run]:
        found = (self._entries.get(name) for name in names)
        return [entry for entry in found if isinstance(entry, Run)]

    def _chosen(self) -> str:
        """The current row; without one, the only one that is selected."""
        only = self.table.selected[0] if len(self.table.selected) == 1 else ""
        name = self.table.current or only
        if name in self._entries:
            return name
        raise ValueError("no run is chosen: click a row of the table first")

    def _readable(self, name: str) -> Run:
        entry = self._entries.get(name)
        if entry is None:
            raise ValueError(f"{name} is gone: press Refresh")
        if isinstance(entry, UnreadableRun):
            raise ValueError(f"{name} can't be opened: {entry.reason}")
        return entry

    def _follow_choice(self) -> None:
        self.new_name.value = self.table.current
        self._ask_nothing()
        entry = self._entries.get(self.table.current)
        reason = entry.reason if isinstance(entry, UnreadableRun) else entry and entry.error
        if reason:
            self._say(f"{self.table.current}: {reason}")
        else:
            self.message.value = ""

    def open(self, name: str | None = None) -> None:
        """Hand a run on: the named one, or the current one.

        Raises:
            ValueError: no run is chosen, or it can't be read.
        """
        run = self._readable(self._chosen() if name is None else name)
        self.table.current = run.folder.name
        if self._on_open is not None:
            self._on_open(run)

    def forget_figures(self) -> None:
        """Make other ones when they are wanted: a page that is loaded anew has stale ones."""
        self.overlay, self._overlay_place.children = None, ()
        self.pareto.forget_figure()

    def draw_overlay(self) -> None:
        """Draw the selected runs into the one figure; without any, the current one.

        Raises:
            ValueError: none is selected that can be read.
        """
        names = tuple(self.table.selected) or (self._chosen(),)
        runs = self._runs(names)
        if not runs:
            raise ValueError("none of the selected runs can be read: see the note in the table")
        self._overlaid = names
        if self.overlay is None:
            self.overlay = responsive(overlay_figure())
            self._overlay_place.children = (self.overlay,)
        self._fill_overlay(runs)
        if self._on_overlay is not None:
            self._on_overlay(runs)

    def _fill_overlay(self, runs: Sequence[Run]) -> None:
        fill_overlay(self.overlay, runs)
        self._overlay_place.layout.display = _SHOWN if runs else _HIDDEN

    def again(self) -> None:
        """Hand the current run's settings on.

        Raises:
            ValueError: this version can't run with them.
        """
        run = self._readable(self._chosen())
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
            self._say(f"took over the settings of {run.folder.name}")

    def rename(self) -> None:
        """Give the current run the name in the text field.

        Raises:
            ValueError: no run is chosen, or no folder can have that name.
            RuntimeError: the run is being written.
        """
        old = self._chosen()
        self._refuse_busy(old, "renamed")
        place = rename_run(self.root / old, self.new_name.value)
        new = place.name
        self._overlaid = tuple(new if name == old else name for name in self._overlaid)
        selected = [new if name == old else name for name in self.table.selected]
        self.refresh()
        self.table.selected, self.table.current = selected, new
        if self._on_renamed is not None:
            self._on_renamed(self.root / old, place)
        self._say(f"{old} is now {new}")

    def _refuse_busy(self, name: str, verb: str) -> None:
        if self._busy(self.root / name) or is_being_written(self.root / name):
            raise RuntimeError(
                f"{name} is being written and can't be {verb}: stop the run, or wait for its end"
            )

    def ask_to_delete(self) -> None:
        """Ask in place; only Yes deletes.

        Raises:
            ValueError: no run is chosen.
            RuntimeError: one of them is being written.
        """
        names = tuple(self.table.selected) or (self._chosen(),)
        for name in names:
            self._refuse_busy(name, "deleted")
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        listed = ", ".join(names[:_MOST_NAMES]) + more
        many = "1 run" if len(names) == 1 else f"{len(names)} runs"
        self._doomed = names
        asked = html.escape(f"Delete {many}? {listed}")
        self.question.value = f'<div role="alert">{asked}</div>'
        self._question_box.layout.display = _SHOWN

    def _ask_nothing(self) -> None:
        self._doomed = ()
        self._question_box.layout.display = _HIDDEN

    def delete(self) -> None:
        """Delete what was asked about; a run that is refused does not keep the others.

        Raises:
            RuntimeError: some could not be deleted; says why.
        """
        problems, doomed = [], self._doomed
        for name in doomed:
            try:
                self._refuse_busy(name, "deleted")
                delete_run(self.root / name)
            except (OSError, RuntimeError) as error:
                problems.append(str(error))
        self._ask_nothing()
        self.refresh()
        if problems:
            raise RuntimeError("; ".join(problems))
        self._say(f"deleted {', '.join(doomed)}")
