"""The folder of a run that is taken up: as it was until nothing can refuse that any more."""

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from pathlib import Path

from pclora_lab.files import PART, atomic_write
from pclora_lab.json_files import to_json, write_json
from pclora_lab.runs.checkpoints import save_checkpoint
from pclora_lab.runs.durable.heartbeat import beating
from pclora_lab.runs.durable.status import set_status, versions
from pclora_lab.runs.snapshots import list_snapshots
from pclora_lab.staging import remove_folder
from pclora_lab.training.events import Event, PhaseStart, Row
from pclora_lab.training.state import Checkpoint

__all__ = ["Reopening", "refuse_forked", "remove_half_written", "reopen"]


class Reopening:
    """What is written into a run's folder before it goes on, and when.

    Data, model, settings, teacher and checkpoint are compared first. Only the status says
    ``running`` meanwhile; where the run is refused, stopped or fails before that is over, it is put
    back.

    Args:
        folder: of the run.
        rows: the history that stays.
        step: from which the training goes on; None where it starts again.
        checkpoint: to be written in place of the one there; None leaves it.
    """

    def __init__(
        self,
        folder: Path,
        rows: Iterable[Row],
        step: int | None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.folder, self.rows, self.step = folder, rows, step
        self._checkpoint, self._status = checkpoint, folder / "status.json"

    def events(self, events: Iterator[Event]) -> Generator[Event, None, Iterator[Event]]:
        """Pass on what comes before anything is written.

        Returns:
            All events that are left, to be written down; the folder is ready for them.

        Raises:
            OSError: the folder can't be written.
        """
        process, before = os.getpid(), _Kept(self._status)
        try:
            with contextlib.ExitStack() as while_waiting:
                phase = ""
                for event in events:
                    if self._is_accepted(phase):
                        self._open()
                        return chain([event], events)
                    if phase == "data":  # what comes now may take long, as a teacher does
                        set_status(self.folder, "running")
                        while_waiting.enter_context(beating(self._status))
                    phase = event.name if isinstance(event, PhaseStart) else phase
                    yield event
                    refuse_forked(self.folder, process)
        except BaseException:
            if os.getpid() == process:
                before.put_back()
            raise
        return iter(())

    def _is_accepted(self, phase: str) -> bool:
        """Whether an event after this phase's beginning says that all was compared.

        The student is put back behind the beginning of ``fade``; without a checkpoint there is
        nothing to compare once data and model were read.
        """
        return phase == ("data" if self.step is None else "fade")

    def _open(self) -> None:
        if self._checkpoint is not None:
            save_checkpoint(self.folder, self._checkpoint)
            self._checkpoint = None  # its tensors should not live as long as the run
        reopen(self.folder, self.rows, -1 if self.step is None else self.step)


class _Kept:
    """A small file as it is now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found = (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None

    def put_back(self) -> None:
        """Write it again, if it has changed; a disk that is full must not hide what went wrong."""
        with contextlib.suppress(OSError):
            if _Kept(self.path).found == self.found:
                return
            if self.found is None:
                self.path.unlink()
                return
            data, changed_at = self.found
            with atomic_write(self.path) as part:
                part.write_bytes(data)
            os.utime(self.path, ns=(changed_at, changed_at))


def reopen(folder: Path, rows: Iterable[Row], step: int) -> None:
    """Get a run folder ready for the rest of its run.

    Args:
        folder: of the run.
        rows: the history that stays.
        step: from which the training goes on; later snapshots are of steps to be taken again.
    """
    remove_half_written(folder)
    # Nothing is removed through a link.
    own = {} if (folder / "snapshots").is_symlink() else list_snapshots(folder)
    for taken, snapshot in own.items():
        if taken > step:
            snapshot.unlink()
    with atomic_write(folder / "history.jsonl") as part:
        lines = [to_json(row, missing_as_null=True) + "\n" for row in rows]
        part.write_text("".join(lines), encoding="utf8")
    if not (folder / "versions.json").is_file():
        write_json(folder / "versions.json", versions())
    set_status(folder, "running")


def remove_half_written(folder: Path) -> None:
    """Remove what a process left that was killed while it wrote; nothing would replace it."""
    for left in _half_written(folder):
        if left.is_dir():
            remove_folder(left)
        else:
            left.unlink()


def _half_written(folder: Path) -> list[Path]:
    folders = [folder, *([s] if not (s := folder / "snapshots").is_symlink() else ())]
    return [left for inner in folders for left in inner.glob(f"*{PART}")]


def refuse_forked(folder: Path, process: int) -> None:
    """A forked child has a copy of all that writes into the folder; the run is not its own.

    Args:
        folder: of the run.
        process: that trains it.

    Raises:
        RuntimeError: this is another one.
    """
    if os.getpid() != process:
        raise RuntimeError(
            f"{folder.name} is trained by process {process}; its forked child can't go on with it"
        )
