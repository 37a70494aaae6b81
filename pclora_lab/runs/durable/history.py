"""Rows of a run's history, appended one by one; a disk that is full for a while loses none."""

import os
from pathlib import Path

from pclora_lab.files import open_to_append
from pclora_lab.json_files import to_json
from pclora_lab.training.events import Row

__all__ = ["HistoryWriter"]


class HistoryWriter:
    """Appends rows to ``history.jsonl``.

    Args:
        path: of the file; a link in its place is refused.

    Raises:
        OSError: it can't be opened.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "history.jsonl"
        >>> writer = HistoryWriter(path)
        >>> writer.write({"step": 1})
        >>> path.read_text()
        '{"step": 1}\\n'
        >>> writer.close()
    """

    def __init__(self, path: Path) -> None:
        self._file = open_to_append(path)
        self._waiting = b""

    @property
    def is_complete(self) -> bool:
        """Whether all rows are in the file."""
        return not self._waiting

    def write(self, row: Row) -> None:
        """Append a row, after those that could not be written before.

        Raises:
            OSError: the disk is full; the row is kept, and written as soon as there is room.
        """
        self._waiting += (to_json(row, missing_as_null=True) + "\n").encode()
        self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            OSError: the disk is full; nothing is lost.
        """
        while self._waiting:
            written = os.write(self._file, self._waiting)
            self._waiting = self._waiting[written:]

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
