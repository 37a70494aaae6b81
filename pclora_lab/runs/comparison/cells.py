"""One cell of a comparison, anywhere: skipped where it is finished, taken up, or begun.

Several processes may go through the same folder at once, on one machine or on several that share
it: each cell belongs to whoever claims it first, and the others come back to it later.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

from pclora_lab.data.cache import DataCache
from pclora_lab.files import make_folder
from pclora_lab.locks import FolderLock
from pclora_lab.methods.registry import method_class
from pclora_lab.remarks import remark
from pclora_lab.runs.comparison.grid import Cell
from pclora_lab.runs.durable.stored import read_result
from pclora_lab.runs.execution import Execution, execute
from pclora_lab.runs.folder import delete_run, is_being_written
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.resuming import can_resume, resume
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import Resolved, Result, StepEnd

__all__ = ["LOCKS", "CellBusy", "cell_folder", "cell_result", "cell_steps", "run_cell"]

LOCKS = "locks"
"""Where a comparison's processes agree who works on what."""


class CellBusy(RuntimeError):
    """Somebody else runs the cell."""


def cell_folder(cell: Cell, out: Path) -> Path:
    """The cell's run folder in a comparison's folder."""
    return out / "cells" / cell.name


def cell_result(cell: Cell, out: Path, remarked: Callable[[str], object] = remark) -> Result | None:
    """What came out of a cell; None where it is still to be run.

    Args:
        cell: of the comparison.
        out: the comparison's folder.
        remarked: told of a result that can't be used.
    """
    try:
        result = read_result(cell_folder(cell, out), measured=True)
    except (OSError, ValueError) as error:
        remarked(f"the result of the cell {cell.name} can't be used: {error}. It is run again")
        return None
    # One at another learning rate is left over from before the choice changed.
    trained = method_class(cell.method).trains
    stale = result is not None and trained and result.get("lr") != cell.config.lr
    return None if stale else result


def run_cell(cell: Cell, out: Path | str) -> Result | None:
    """Run a cell to its end; a finished one is left as it is, a stopped one taken up.

    Args:
        cell: from :meth:`Comparison.cells`.
        out: the comparison's folder, which several processes may share.

    Returns:
        Its result.

    Raises:
        CellBusy: somebody else runs it.

    Example:
        >>> import tempfile
        >>> from pclora_lab import RunConfig
        >>> from pclora_lab.runs.comparison import Comparison
        >>> out, base = tempfile.mkdtemp(), RunConfig(eval_images=16, device="cpu")
        >>> comparison = Comparison(base, methods=["svd"], budgets=[0.2], seeds=[0], out=out)
        >>> [run_cell(cell, out)["method"] for cell in comparison.cells("svd")]
        ['svd']
    """
    out = Path(out)
    if (result := cell_result(cell, out)) is not None:
        return result
    for _ in cell_steps(cell, out):
        pass
    return cell_result(cell, out)


def cell_steps(
    cell: Cell,
    out: Path,
    *,
    cache: DataCache | None = None,
    resolved: Callable[[str], object] = lambda precision: None,
) -> Generator[int, None, None]:
    """The same step by step; what can't be used is not said, and what ends the run goes on.

    Args:
        cell: of the comparison.
        out: the comparison's folder.
        cache: data of earlier runs in this process.
        resolved: told which precision the run computes in.

    Yields:
        Steps that are done, 0 while a teacher is trained.

    Raises:
        CellBusy: somebody else runs it.
    """
    with _claimed(cell, out):
        if cell_result(cell, out, lambda _: None) is not None:
            return
        with closing(_begin(cell, out, cache)) as events:
            for event in events:
                if isinstance(event, Resolved):
                    resolved(event.config.precision)
                if isinstance(event, StepEnd):
                    # The steps of a teacher are no steps of the cell, but whoever wants to stop
                    # is not kept waiting until it is done.
                    yield event.step if event.phase == "fade" else 0


@contextlib.contextmanager
def _claimed(cell: Cell, out: Path) -> Iterator[None]:
    """Inside, the cell is ours.

    The lock is not the run folder's own, which is not there yet, or may be deleted first. Where a
    disk does not lock across machines, the beats of a run that goes on elsewhere show it.
    """
    lock = FolderLock(make_folder(out / LOCKS), f"{cell.name}.lock")
    if not lock.acquire():
        if lock.is_held_by_this_thread:
            raise RuntimeError(f"this thread runs the cell {cell.name} of {out} already")
        raise CellBusy(f"the cell {cell.name} of {out} is being run by {lock.holder}")
    try:
        if is_being_written(folder := cell_folder(cell, out)):
            raise CellBusy(f"the cell {cell.name} of {out} is {load_run(folder).state}")
        yield
    finally:
        lock.release()


def _begin(cell: Cell, out: Path, cache: DataCache | None) -> Execution:
    """The cell's run, from its checkpoint if it has left one."""
    folder = cell_folder(cell, out)
    if can_resume(folder) and _goes_on(folder, cell.config):
        return resume(folder, cache=cache)
    if folder.is_dir():
        if any(folder.iterdir()):
            delete_run(folder)
        else:  # a process was killed as soon as it had made it
            folder.rmdir()
    return execute(cell.config, folder.parent, name=cell.name, teachers=out, cache=cache)


def _goes_on(folder: Path, config: RunConfig) -> bool:
    """Whether a run folder is one of a configuration, and something is left to do."""
    with contextlib.suppress(TypeError, ValueError, OSError):
        run = load_run(folder)
        known = RunConfig.from_dict(run.config)
        if config.precision == "auto":  # killed before the comparison knew
            config = dataclasses.replace(config, precision=known.precision)
        # Where it is run is dealt out anew each time.
        config = dataclasses.replace(config, device=known.device)
        return run.status != "finished" and known == config
    return False
