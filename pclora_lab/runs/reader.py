"""Reading run folders, whoever wrote them: this version, another one, or a person's editor."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pclora_lab.files import file_stamp, given_path, short_path
from pclora_lab.json_files import parse_json, read_json
from pclora_lab.runs.durable.signs import read_signs
from pclora_lab.runs.durable.stored import believed_row, read_result
from pclora_lab.training.config import upgrade_config
from pclora_lab.training.events import Result, Row

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Run",
    "TEACHERS_FOLDER",
    "UnreadableRun",
    "list_runs",
    "load_run",
    "scan_runs",
]

TEACHERS_FOLDER = "teachers"


# The first that is there says how old a run is; "" is the folder itself.
_FILES = ("status.json", "config.json", "history.jsonl", "result.json", "versions.json", "")


_SIGNS_OF_A_RUN = ("status.json", "versions.json", "history.jsonl")


@dataclass(frozen=True)
class Run:
    """A run folder, read.

    Attributes:
        folder: where it is.
        config: as written; see :meth:`RunConfig.from_dict`.
        status: running, finished, stopped or failed.
        error: message of a failed run.
        rows: the history, a dict per row; of a run from a list, read anew whenever asked for.
        result: final numbers, or None.
        state: the status as a person reads it: also ``killed``, ``running on node3 (last beat 12 s
            ago)`` or ``no sign of life for 3 h``.
    """

    folder: Path
    config: dict[str, Any]
    status: str
    error: str | None
    rows: Sequence[Row]
    result: Result | None
    state: str = ""

    def history(self) -> "pd.DataFrame":
        """The rows as a table."""
        import pandas as pd

        return pd.DataFrame(self.rows)


class _RowsOnDisk(Sequence[Row]):
    """Rows of one run among many: read when they are asked for, and not kept."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __len__(self) -> int:
        return len(_read_rows(self._path))

    def __getitem__(self, index: Any) -> Any:
        return _read_rows(self._path)[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(_read_rows(self._path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def load_run(folder: Path | str) -> Run:
    """Read a run folder, also one that is being written or whose process was killed.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: a file is there, but can't be read as what it should hold.
        OSError: a file may not be read.
    """
    run = _load(given_path(folder, "folder"))
    return dataclasses.replace(run, rows=list(run.rows))


def _load(folder: Path) -> Run:
    """The same, but the rows are read when they are asked for: a list of runs needs none."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"no run in {folder}: there is no config.json")
    result = read_result(folder)
    signs = read_signs(folder, has_result=result is not None)
    run = Run(
        folder=folder,
        config=upgrade_config(read_json(folder / "config.json") or {}),
        status=signs.status,
        error=signs.error,
        rows=_RowsOnDisk(folder / "history.jsonl"),
        result=result,
        state=signs.state,
    )
    if run.result is not None:  # the file holds the name only, as others may read it
        run.result["run_dir"] = short_path(folder)
    return run


def _read_rows(path: Path) -> list[Row]:
    """All lines that hold a row; a process killed in mid-line leaves one that does not."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            rows.append(believed_row(parse_json(line, "the row")))
    return [row for row in rows if row is not None]


@dataclass(frozen=True)
class UnreadableRun:
    """A folder among runs that is no run, or can't be read as one.

    Attributes:
        folder: where it is.
        reason: what is wrong with it.
    """

    folder: Path
    reason: str


def scan_runs(
    root: Path | str, known: dict[Path, tuple[Any, Run | UnreadableRun]] | None = None
) -> list[Run | UnreadableRun]:
    """Every folder below a root as what it is, newest first; none makes it fail.

    Hidden folders that are no runs, and ``teachers``, are left out.

    Args:
        root: folder of runs; one that is not there holds none.
        known: what earlier calls found. Pass the same dict again, and only folders whose files
            have changed are read.

    Raises:
        OSError: the root itself may not be read.

    Example:
        >>> scan_runs("no/such/folder")
        []
    """
    root = given_path(root, "root")
    if not root.is_dir():
        return []
    known = {} if known is None else known
    found = {folder: _look_at(folder, known.get(folder)) for folder in _folders(root)}
    known.clear()
    known.update({folder: (stamp, entry) for folder, (stamp, _, entry) in found.items()})
    newest = sorted(found.values(), key=lambda look: look[1], reverse=True)
    return [entry for _, _, entry in newest]


def _folders(root: Path) -> Iterator[Path]:
    for path in root.iterdir():
        is_run = any((path / name).is_file() for name in _SIGNS_OF_A_RUN)
        hidden = path.name == TEACHERS_FOLDER or (path.name.startswith(".") and not is_run)
        # A link that leads nowhere, or in a circle, may have been a run.
        if not hidden and (path.is_symlink() or path.is_dir()):
            yield path


def _look_at(
    folder: Path, before: tuple[Any, Run | UnreadableRun] | None
) -> tuple[Any, float, Run | UnreadableRun]:
    """The state of its files, the time of its status, and what it is."""
    stamp = tuple(file_stamp(folder / name) for name in _FILES)
    age = next((part[0] for part in stamp if part is not None), 0)
    # A process may end without touching a file.
    if before is not None and before[0] == stamp and not _is_running(before[1]):
        return stamp, age, before[1]
    return stamp, age, _read_entry(folder)


def _is_running(entry: Run | UnreadableRun) -> bool:
    return isinstance(entry, Run) and entry.status == "running"


def _read_entry(folder: Path) -> Run | UnreadableRun:
    try:
        if any((folder / name).is_file() for name in _SIGNS_OF_A_RUN):
            return _load(folder)
        reason = f"no run: there is no {', no '.join(_SIGNS_OF_A_RUN)}"
        return UnreadableRun(folder, reason)
    except (ValueError, OSError) as error:
        return UnreadableRun(folder, str(error))


def list_runs(root: Path | str) -> list[Run]:
    """All runs below a folder that can be read, newest first; see :func:`scan_runs`."""
    return [entry for entry in scan_runs(root) if isinstance(entry, Run)]
