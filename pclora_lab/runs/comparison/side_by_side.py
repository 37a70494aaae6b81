"""Cells side by side, sent to an engine's workers; one that dies takes no other with it."""

import contextlib
import itertools
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pclora_lab.files import make_folder
from pclora_lab.json_files import parse_json
from pclora_lab.runs.comparison.cells import LOCKS, cell_folder, cell_result
from pclora_lab.runs.comparison.engines.engine import Engine
from pclora_lab.runs.comparison.grid import Cell
from pclora_lab.runs.comparison.in_turn import SECONDS_BETWEEN_TRIES, Moved, Outcome
from pclora_lab.runs.comparison.work import Job, Report, work
from pclora_lab.wording import brief

__all__ = ["SideBySide", "TRIES"]

TRIES = 4
"""How often a cell is begun or taken up before its worker's death counts as its own fault."""

_SECONDS_TO_STOP = 20.0
# Longer than any row of a comparison, in whose runs nobody looks into the layers.
_LAST_BYTES = 16_384
_LONGEST_REASON = 300


@dataclass(frozen=True)
class _Done:
    """What a worker's thread reports."""

    cell: Cell
    report: Report


class _Worker(threading.Thread):
    """Hands cells to one of an engine's workers, one after the other."""

    def __init__(
        self,
        number: int,
        engine: Engine,
        todo: "queue.SimpleQueue[Job | None]",
        done: "queue.SimpleQueue[_Done]",
    ) -> None:
        super().__init__(daemon=True)
        self._number, self._engine = number, engine
        self._todo, self._done = todo, done
        self._is_stopped = False

    def run(self) -> None:
        """Work until None comes, or :meth:`stop`."""
        while (job := self._todo.get()) is not None and not self._is_stopped:
            self._done.put(_Done(job.cell, self._run(job)))

    def _run(self, job: Job) -> Report:
        try:
            return self._engine.run(self._number, work, job)
        except BaseException as error:  # noqa: BLE001 - of the worker: the cell gets another one
            reason = brief(" ".join(str(error).split()), _LONGEST_REASON)
            return Report(Outcome(f"its worker ended: {reason}"), has_died=True)

    def stop(self) -> None:
        """Take no further cell."""
        self._is_stopped = True


class SideBySide:
    """Runs cells in several processes.

    Args:
        out: the comparison's folder, by its whole path.
        engine: that has the workers; it is closed in the end.
        count: of them.
        remarked: told of a result that can't be used.
    """

    def __init__(
        self, out: Path, engine: Engine, count: int, remarked: Callable[[str], object]
    ) -> None:
        self._out, self._remarked, self._engine = out, remarked, engine
        self._name, self._sent = uuid.uuid4().hex, itertools.count()
        self._stop = out / LOCKS / f"{self._name}.stop"
        self._todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Done] = queue.SimpleQueue()
        self._workers = [_Worker(number, engine, self._todo, self._done) for number in range(count)]
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
                self._send(cell)
        while going:
            try:
                done = self._done.get(timeout=SECONDS_BETWEEN_TRIES)
            except queue.Empty:
                yield from self._progress(going.values())
                continue
            name, report = done.cell.name, done.report
            tries[name] += report.has_died
            if report.outcome is None or (report.has_died and tries[name] <= TRIES):
                yield Moved(done.cell, 0)
                self._again(done)
                continue
            del going[name]
            yield Moved(done.cell, done.cell.steps, report.outcome)

    def _send(self, cell: Cell) -> None:
        number = f"{self._name}-{next(self._sent)}"
        self._todo.put(Job(cell, self._out, number, self._stop))

    def _again(self, done: _Done) -> None:
        """Send a cell again; one that is busy elsewhere after a while."""
        wait = 0.0 if done.report.has_died else SECONDS_BETWEEN_TRIES
        timer = threading.Timer(wait, self._send, [done.cell])
        timer.daemon = True
        timer.start()

    def _progress(self, cells: Iterable[Cell]) -> Generator[Moved, None, None]:
        for cell in cells:
            if (steps := _steps_taken(cell_folder(cell, self._out))) is not None:
                yield Moved(cell, min(steps, cell.steps))

    def close(self) -> None:
        """End the workers after the step that each is at; runs that go on keep a checkpoint."""
        for worker in self._workers:
            worker.stop()
            self._todo.put(None)
        with self._asked_to_stop():
            self._engine.interrupt()
            until = time.monotonic() + _SECONDS_TO_STOP
            for worker in self._workers:
                worker.join(max(0.0, until - time.monotonic()))
            self._engine.close()

    @contextlib.contextmanager
    def _asked_to_stop(self) -> Iterator[None]:
        """Inside, a file says so to whoever works, wherever that is."""
        try:
            with contextlib.suppress(OSError):
                make_folder(self._stop.parent)
                self._stop.touch()
            yield
        finally:
            with contextlib.suppress(OSError):
                self._stop.unlink()


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
