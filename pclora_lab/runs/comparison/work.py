"""What a worker does, wherever its process is: one cell, at most once for each time it is sent."""

import contextlib
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from pclora_lab.files import atomic_write, make_folder
from pclora_lab.machine import this_host
from pclora_lab.runs.comparison.cells import LOCKS, CellBusy, cell_steps
from pclora_lab.runs.comparison.grid import Cell
from pclora_lab.runs.comparison.in_turn import Outcome
from pclora_lab.runs.comparison.workers import Needs, needs_of
from pclora_lab.training.config import RunConfig
from pclora_lab.wording import explained

__all__ = ["Job", "Report", "look_around", "work"]

_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Job:
    """A cell as it is sent to a worker.

    Attributes:
        cell: to be run.
        out: the comparison's folder, by its whole path.
        number: another one each time a cell is sent.
        stop: a file; where it appears the worker stops, and its run keeps its checkpoint.
    """

    cell: Cell
    out: Path
    number: str
    stop: Path


@dataclass(frozen=True)
class Report:
    """What became of a job.

    Attributes:
        outcome: None where somebody else runs the cell.
        has_died: whether the worker did not come to an end.
    """

    outcome: Outcome | None
    has_died: bool = False


def work(job: Job) -> Report:
    """Run a cell in a worker, from its checkpoint if it has left one.

    An engine may start a job again by itself when a worker dies. How often a cell is tried is
    counted in one place, so what was begun before is not begun again here.
    """
    if (missing := _not_shared(job.out)) is not None:
        return Report(Outcome(missing))
    torch.set_num_threads(1)  # whatever its process was started with: others have one, too
    try:
        if _was_begun(job):
            return Report(Outcome("its worker ended"), has_died=True)
        with closing(cell_steps(job.cell, job.out)) as steps:
            is_stopped = _watch(job.stop)
            for _ in steps:
                if is_stopped():
                    return Report(Outcome("stopped"))
    except CellBusy:
        return Report(None)
    except Exception as error:  # noqa: BLE001 - becomes a row; the other cells go on
        return Report(Outcome(f"{type(error).__name__}: {explained(error)}"))
    return Report(Outcome())


def look_around(base: RunConfig, out: Path) -> Needs:
    """What a cell needs on a worker's machine, which may have another device than this one.

    Raises:
        FileNotFoundError: the worker does not see the comparison's folder.
    """
    if (missing := _not_shared(out)) is not None:
        raise FileNotFoundError(missing)
    return needs_of(base)


def _not_shared(out: Path) -> str | None:
    if (out / "comparison.json").is_file():
        return None
    return (
        f"{this_host()} does not see {out}: put the comparison on a disk that all nodes have at "
        "the same place"
    )


def _was_begun(job: Job) -> bool:
    """Whether this very job came to a worker before; else it is noted."""
    note = make_folder(job.out / LOCKS) / f"{job.cell.name}.job"
    with contextlib.suppress(OSError, ValueError):  # nobody has worked on the cell yet
        if note.read_text(encoding="utf8") == job.number:
            return True
    with atomic_write(note) as part:
        part.write_text(job.number, encoding="utf8")
    return False


def _watch(file: Path) -> Callable[[], bool]:
    """Whether a file has appeared; looked for once a second only, as steps may be fast."""
    looked = time.monotonic()

    def is_there() -> bool:
        nonlocal looked
        if time.monotonic() - looked < _SECONDS_BETWEEN_LOOKS:
            return False
        looked = time.monotonic()
        return os.path.lexists(file)

    return is_there
