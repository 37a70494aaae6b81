"""Which runs there are below a folder, as a table, and which of them are chosen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pclora_lab.runs.reader import Run, UnreadableRun, scan_runs
from pclora_lab.ui.browser.table_rows import table_columns, table_row, tasks_of
from pclora_lab.ui.widgets.table import Table

__all__ = ["RunList"]


class RunList:
    """The runs below a folder, broken ones too; a new kernel sees the same.

    Args:
        root: folder of runs.

    Attributes:
        table: a row by run; its ``id`` is the name of the run's folder.
        entries: runs by the name of their folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.table = Table(table_columns(tasks_of(())), label="runs")
        self.entries: dict[str, Run | UnreadableRun] = {}
        self._known: dict[Path, Any] = {}

    def refresh(self) -> list[Run]:
        """Read the folder again; only what has changed there is read.

        Returns:
            The runs that can be read.

        Raises:
            OSError: the root may not be read.
        """
        entries = scan_runs(self.root, self._known)
        self.entries = {entry.folder.name: entry for entry in entries}
        readable = [entry for entry in entries if isinstance(entry, Run)]
        self.table.columns = table_columns(tasks_of(readable))
        self.table.rows = [table_row(entry) for entry in entries]
        return readable

    def named(self, names: Sequence[str]) -> list[Run]:
        """Those of the named runs that can be read."""
        found = (self.entries.get(name) for name in names)
        return [entry for entry in found if isinstance(entry, Run)]

    def chosen(self) -> str:
        """The current row; without one, the only one that is selected.

        Raises:
            ValueError: there is neither.
        """
        only = self.table.selected[0] if len(self.table.selected) == 1 else ""
        name = self.table.current or only
        if name in self.entries:
            return name
        raise ValueError("no run is chosen: click a row of the table first")

    def selected(self) -> tuple[str, ...]:
        """The rows whose box is checked; without any, the current one.

        Raises:
            ValueError: there is none.
        """
        return tuple(self.table.selected) or (self.chosen(),)

    def readable(self, name: str) -> Run:
        """A run by the name of its folder.

        Raises:
            ValueError: it is gone, or can't be read.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise ValueError(f"{name} is gone: press Refresh")
        if isinstance(entry, UnreadableRun):
            raise ValueError(f"{name} can't be opened: {entry.reason}")
        return entry

    def problem(self, name: str) -> str | None:
        """Why a run can't be read, or with which error it ended."""
        entry = self.entries.get(name)
        if isinstance(entry, UnreadableRun):
            return entry.reason
        return None if entry is None else entry.error
