"""Cells side by side, a process for each worker; one that dies takes no other with it.

A worker's process is loky's, as joblib brings it: it needs no ``if __name__ == "__main__"`` in the
script that starts it, and its end is noticed. joblib's own pool is not used, since the death of one
of its workers ends them all.
"""

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor

from pclora_lab.json_files import parse_json
from pclora_lab.runs.comparison.cells import CellBusy, cell_folder, cell_result, cell_steps
from pclora_lab.runs.comparison.grid import Cell
from pclora_lab.runs.comparison.in_turn import SECONDS_BETWEEN_TRIES, Moved, Outcome
from pclora_lab.runs.comparison.workers import Workers
from pclora_lab.wording import explained

__all__ = ["SideBySide", "TRIES", "work"]

TRIES = 4
"""How often a cell is begun or taken up before its worker's death counts as its own fault."""

_SECONDS_TO_STOP = 20.0
# Longer than any row of a comparison, in whose runs nobody looks into the layers.
_LAST_BYTES = 16_384
# Of this process, if it is a worker.
_is_at_work = False


@dataclass(frozen=True)
class _Done:
    """What a worker's thread reports; ``outcome`` is None where the cell has to be run again."""

    cell: Cell
    outcome: Outcome | None
    has_died: bool = False


def work(cell: Cell, out: Path) -> str | None:
    """Run a cell in a worker.

    Returns:
        The error that ended it, or None.

    Raises:
        CellBusy: somebody else runs it.
    """
    global _is_at_work
    _is_at_work = True
    try:
        for _ in cell_steps(cell, out):
            pass
    except CellBusy:
        raise
    except KeyboardInterrupt:  # the run has its checkpoint; loky would wait for another cell
        os._exit(0)
    except Exception as error:  # noqa: BLE001 - becomes a row; the other cells go on
        return f"{type(error).__name__}: {explained(error)}"
    finally:
        _is_at_work = False
    return None


class _Worker(threading.Thread):
    """Hands cells to a process of its own, one after the other."""

    def __init__(
        self,
        out: Path,
        environment: dict[str, str],
        todo: "queue.SimpleQueue[Cell | None]",
        done: "queue.SimpleQueue[_Done]",
    ) -> None:
        super().__init__(daemon=True)
        self._out, self._environment = out, environment
        self._todo, self._done = todo, done
        self._pool: Any = None
        self._is_busy = self._is_stopped = False

    def run(self) -> None:
        """Work until None comes, or :meth:`stop`."""
        while (cell := self._todo.get()) is not None and not self._is_stopped:
            self._is_busy = True
            done = self._run(cell)
            self._is_busy = False
            self._done.put(done)

    def _run(self, cell: Cell) -> _Done:
        try:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    1, timeout=None, env=self._environment, initializer=_end_in_good_order
                )
            failure = self._pool.submit(work, cell, self._out).result()
        except CellBusy:
            return _Done(cell, None)
        except BaseException as error:  # noqa: BLE001 - of the process: it is given another one
            self._pool = None
            return _Done(cell, Outcome(f"its worker ended: {explained(error)}"), has_died=True)
        return _Done(cell, Outcome(failure))

    def stop(self) -> None:
        """End the process after the step that it is at; the run keeps its checkpoint."""
        self._is_stopped = True
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if not self._is_busy:
            pool.shutdown(wait=True)
            return
        processes = [p for p in dict(pool._processes or {}).values() if p.is_alive()]
        for process in processes:
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGTERM)
        until = time.monotonic() + _SECONDS_TO_STOP
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
        pool.shutdown(wait=False, kill_workers=True)


def _end_in_good_order() -> None:
    """In a worker: SIGTERM ends it like Ctrl+C, and its run writes a checkpoint first."""
    signal.signal(signal.SIGTERM, lambda *_: _end())
    signal.signal(signal.SIGINT, lambda *_: _end())


def _end() -> None:
    if _is_at_work:
        raise KeyboardInterrupt
    os._exit(0)  # between two cells there is nothing to tidy up


class SideBySide:
    """Runs cells in several processes.

    Args:
        out: the comparison's folder.
        workers: how many, and on which devices.
        remarked: told of a result that can't be used.
    """

    def __init__(self, out: Path, workers: Workers, remarked: Callable[[str], object]) -> None:
        self._out, self._remarked = out, remarked
        self._todo: queue.SimpleQueue[Cell | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Done] = queue.SimpleQueue()
        self._workers = [
            _Worker(out, workers.environment(number), self._todo, self._done)
            for number in range(workers.count)
        ]
        for worker in self._workers:
            worker.start()

    def run(self, cells: Sequence[Cell]) -> Generator[Moved, None, None]:
        """Run cells; one whose worker dies is taken up by the next, from its checkpoint."""
        going = {cell.name: cell for cell in cells}
        tries = dict.fromkeys(going, 1)
        for cell in cells:
            if cell_result(cell, self._out, self._remarked) is not None:
                del going[cell.name]
                yield Moved(cell, cell.steps, Outcome(was_there=True))
            else:
                self._todo.put(cell)
        while going:
            try:
                done = self._done.get(timeout=SECONDS_BETWEEN_TRIES)
            except queue.Empty:
                yield from self._progress(going.values())
                continue
            name = done.cell.name
            tries[name] += done.has_died
            if done.outcome is None or (done.has_died and tries[name] <= TRIES):
                yield Moved(done.cell, 0)
                self._again(done)
                continue
            del going[name]
            yield Moved(done.cell, done.cell.steps, done.outcome)

    def _again(self, done: _Done) -> None:
        """Put a cell back into the queue; one that is busy elsewhere after a while."""
        wait = 0.0 if done.has_died else SECONDS_BETWEEN_TRIES
        timer = threading.Timer(wait, self._todo.put, [done.cell])
        timer.daemon = True
        timer.start()

    def _progress(self, cells: Iterable[Cell]) -> Generator[Moved, None, None]:
        for cell in cells:
            if (steps := _steps_taken(cell_folder(cell, self._out))) is not None:
                yield Moved(cell, min(steps, cell.steps))

    def close(self) -> None:
        """End the workers."""
        for _ in self._workers:
            self._todo.put(None)
        for worker in self._workers:
            worker.stop()


def _steps_taken(folder: Path) -> int | None:
    """The step of the last row of a run's history; None where it has not begun."""
    try:
        with open(folder / "history.jsonl", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_BYTES))
            *_, line, _ = file.read().split(b"\n")
        row = parse_json(line, folder.name)
        return int(row["step"]) if row["phase"] == "fade" else 0
    except (OSError, ValueError, KeyError, TypeError):
        return None
