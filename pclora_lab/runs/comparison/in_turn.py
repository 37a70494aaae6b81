"""Cells one after the other, in this process; and what a runner of cells tells."""

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pclora_lab.data.cache import DataCache
from pclora_lab.runs.comparison.cells import CellBusy, cell_result, cell_steps
from pclora_lab.runs.comparison.grid import Cell
from pclora_lab.wording import explained

__all__ = ["SECONDS_BETWEEN_TRIES", "InTurn", "Moved", "Outcome"]

SECONDS_BETWEEN_TRIES = 0.5
"""How long to wait for a cell that somebody else runs."""


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: with a result, which may have been there before, or with an error."""

    error: str | None = None
    was_there: bool = False


@dataclass(frozen=True)
class Moved:
    """A cell has taken steps, or is over."""

    cell: Cell
    steps: int
    outcome: Outcome | None = None


class InTurn:
    """Runs cells in this process; they share the data that were read.

    Args:
        out: the comparison's folder.
        resolved: told which precision a run computes in.
        remarked: told of a result that can't be used.
        cache: data that were read before.
    """

    def __init__(
        self,
        out: Path,
        resolved: Callable[[str], object],
        remarked: Callable[[str], object],
        cache: DataCache | None = None,
    ) -> None:
        self._out, self._resolved, self._remarked = out, resolved, remarked
        self._cache = cache if cache is not None else DataCache()

    def run(self, cells: Sequence[Cell]) -> Generator[Moved, None, None]:
        """Run cells; those that somebody else runs are waited for at the end."""
        waiting, busy = deque(cells), 0
        while waiting:
            cell = waiting.popleft()
            try:
                yield from self._run(cell)
                busy = 0
            except CellBusy:
                waiting.append(cell)
                busy += 1
                yield Moved(cell, 0)  # whoever wants to stop is not kept waiting
                if busy >= len(waiting):
                    time.sleep(SECONDS_BETWEEN_TRIES)

    def _run(self, cell: Cell) -> Generator[Moved, None, None]:
        if cell_result(cell, self._out, self._remarked) is not None:
            yield Moved(cell, cell.steps, Outcome(was_there=True))
            return
        error = None
        steps = cell_steps(cell, self._out, cache=self._cache, resolved=self._resolved)
        try:
            with closing(steps):
                for step in steps:
                    yield Moved(cell, step)
        except CellBusy:
            raise
        except Exception as failure:  # noqa: BLE001 - becomes a row; the other cells go on
            error = f"{type(failure).__name__}: {explained(failure)}"
        yield Moved(cell, cell.steps, Outcome(error))

    def close(self) -> None:
        """Nothing is left to end."""
