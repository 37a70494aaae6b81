"""Renaming and deleting runs: what is being written is refused, and deleting asks first."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import ipywidgets as widgets

from pclora_lab.runs.folder import delete_run, is_being_written, rename_run
from pclora_lab.ui.browser.run_list import RunList
from pclora_lab.ui.html import MessageBox, button, message_html
from pclora_lab.wording import listed

__all__ = ["RunChanges"]

_MOST_NAMES = 5


class RunChanges:
    """Buttons that change the folder of runs.

    Args:
        runs: which are there and which are chosen.
        message: where errors and what was done are shown.
        busy: whether a session of this kernel uses a folder; it is then not touched.
        on_changed: called after the folder was changed, with the old and the new name of a run
            that was renamed.
        on_renamed: called with the old and the new folder at the end.

    Attributes:
        rename_button: gives the current run the name in :attr:`new_name`.
        new_name: text field.
        delete_button: asks.
        question: names what would be deleted.
        yes_button: deletes.
        no_button: takes the question back.
        question_box: the question with its buttons.
    """

    def __init__(
        self,
        runs: RunList,
        message: MessageBox,
        *,
        busy: Callable[[Path], bool],
        on_changed: Callable[..., object],
        on_renamed: Callable[[Path, Path], object] | None,
    ) -> None:
        self.runs, self.message, self._busy = runs, message, busy
        self._on_changed, self._on_renamed = on_changed, on_renamed
        self._doomed: tuple[str, ...] = ()
        do = partial(partial, message.show_errors)
        self.rename_button = button("Rename", "pencil", "rename the current run", do(self.rename))
        self.delete_button = button(
            "Delete", "trash", "delete the selected runs", do(self.ask_to_delete)
        )
        self.new_name = widgets.Text(
            placeholder="new name of the current run",
            tooltip="new name of the current run",
            continuous_update=False,
            layout=widgets.Layout(width="300px"),
        )
        self.question = widgets.HTML()
        self.yes_button = button("Yes", "check", "delete them", do(self.delete), style="danger")
        self.no_button = button("No", "times", "keep them", do(self.take_back))
        self.question_box = widgets.HBox([self.question, self.yes_button, self.no_button])
        self.question_box.layout.align_items = "center"
        self.question_box.add_class("pclora-runs-question")
        self.take_back()

    def follow(self, name: str) -> None:
        """Another run is the current one: offer its name, and take the question back."""
        self.new_name.value = name
        self.take_back()

    def rename(self) -> None:
        """Give the current run the name in the text field.

        Raises:
            ValueError: no run is chosen, or no folder can have that name.
            RuntimeError: the run is being written.
        """
        old, table = self.runs.chosen(), self.runs.table
        self._refuse_busy(old, "renamed")
        path = rename_run(self.runs.root / old, self.new_name.value)
        if path.name == old:
            raise ValueError(f"{old} has that name already: type another one, then press Rename")
        selected = [path.name if name == old else name for name in table.selected]
        self._on_changed(old, path.name)
        table.selected, table.current = selected, path.name
        if self._on_renamed is not None:
            self._on_renamed(self.runs.root / old, path)
        self.message.show_text(f"{old} is now {path.name}")

    def _refuse_busy(self, name: str, verb: str) -> None:
        folder = self.runs.root / name
        if self._busy(folder) or is_being_written(folder):
            raise RuntimeError(
                f"{name} is being written and can't be {verb}: stop the run, or wait for its end"
            )

    def ask_to_delete(self) -> None:
        """Ask below the buttons; only Yes deletes.

        Raises:
            ValueError: no run is chosen.
            RuntimeError: one of them is being written.
        """
        names = self.runs.selected()
        for name in names:
            self._refuse_busy(name, "deleted")
        many = "1 run" if len(names) == 1 else f"{len(names)} runs"
        self._doomed = names
        self.question.value = message_html(
            f"Delete {many}? {listed(names, _MOST_NAMES)}", role="alert", css=""
        )
        self.question_box.layout.display = ""

    def take_back(self) -> None:
        """Ask nothing, and delete nothing."""
        self._doomed = ()
        self.question_box.layout.display = "none"

    def delete(self) -> None:
        """Delete what was asked about; a run that is refused does not keep the others.

        Raises:
            RuntimeError: some could not be deleted; says why.
        """
        problems, doomed = [], self._doomed
        for name in doomed:
            try:
                self._refuse_busy(name, "deleted")
                delete_run(self.runs.root / name)
            except (OSError, RuntimeError) as error:
                problems.append(str(error))
        self.take_back()
        self._on_changed()
        if problems:
            raise RuntimeError("; ".join(problems))
        self.message.show_text(f"deleted {listed(doomed)}")
