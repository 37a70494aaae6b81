"""Every method at every budget and seed, on the same data and steps: one table.

The steps are the method's own. Compressors start from a teacher that fits the data, which may have
been fine-tuned before; ``starts_from`` says so in every row.

A comparison is a folder of runs, one per cell. A cell that is finished is not run again, one that
was stopped is taken up; one that fails is a row with its reason, and the rest goes on. Cells are
run in turn, or by several processes side by side, with the same results.
"""

import contextlib
import dataclasses
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pclora_lab.data.cache import DataCache
from pclora_lab.files import given_path
from pclora_lab.methods.base import MethodConfig
from pclora_lab.runs.comparison.backend import LOKY, Backend
from pclora_lab.runs.comparison.claim import claim_folder, has_begun, pin
from pclora_lab.runs.comparison.engines.opening import open_engine
from pclora_lab.runs.comparison.grid import Cell, Grid
from pclora_lab.runs.comparison.in_turn import InTurn
from pclora_lab.runs.comparison.lr_search import LRSearch
from pclora_lab.runs.comparison.results import Results
from pclora_lab.runs.comparison.side_by_side import SideBySide
from pclora_lab.runs.comparison.workers import Workers
from pclora_lab.runs.durable.places import settled
from pclora_lab.tasks.guessing import guessed_because, pinned_name, task_and_data
from pclora_lab.tasks.registry import named_task
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import Row
from pclora_lab.training.parallel.launch import refuse_several_processes

__all__ = ["Comparison", "Step"]


@dataclass(frozen=True)
class Step:
    """Progress of a whole comparison, in optimizer steps.

    Attributes:
        cell: that has moved.
        done: steps of all cells.
        total: of all that are known of; the search of a learning rate may add some.
        ends_cell: whether the cell's run is over.
        was_there: whether it was finished before.
        active: names of the cells that are being run.
    """

    cell: Cell
    done: int
    total: int
    ends_cell: bool = False
    was_there: bool = False
    active: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is being run, in a few words: one cell, and how many more."""
        names = self.active or (self.cell.name,)
        return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


class Comparison:
    """A grid of methods, budgets and seeds in a folder.

    Args:
        base: model, data, steps and machine of every run; its method and seed are not used.
        methods: names; None takes those that say they belong to a comparison.
        budgets: shares of the replaced layers' parameters that are kept, or trained by methods
            that do not compress.
        seeds: of new weights and batches.
        out: the folder; fine-tuned teachers are kept in ``out/teachers``.
        options: configs by method name, where the usual ones are not wanted.
        lrs: learning rates tried for every method; with one there is nothing to choose. None
            starts from each method's own few and goes on outwards while the best is at the edge.
        workers: processes that run cells side by side, each with one thread on a CPU; ``auto``
            takes as many as devices, cores and memory allow. 1 runs them in this process; None is
            1, and ``auto`` for an engine.
        devices: dealt out to the workers, such as ``("cuda:0", "cuda:1")``; None takes all there
            are of the base's kind.
        backend: what runs the workers: ``loky`` on this machine, ``ray``, ``dask``, or one that is
            registered with joblib.
        address: of a Ray or dask that runs; None starts workers on this machine. Its nodes need
            ``out``, model and data at the same place as here.
        environment: variables of every worker.

    Raises:
        ValueError: unknown method, a budget outside (0, 1], nothing to compare, more workers than
            devices, no such backend, or a folder that holds a comparison with another
            configuration.
        ImportError: the backend is not installed.
        RuntimeError: a launcher has started several processes.
    """

    def __init__(
        self,
        base: RunConfig | None = None,
        *,
        methods: Sequence[str] | None = None,
        budgets: Sequence[float] = (0.05, 0.1, 0.2),
        seeds: Sequence[int] = (0, 1, 2),
        out: Path | str = "runs/comparison",
        options: Mapping[str, MethodConfig] | None = None,
        lrs: Sequence[float] | None = None,
        workers: int | str | None = None,
        devices: Sequence[str] | None = None,
        backend: str = LOKY,
        address: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        refuse_several_processes("the comparison, which has workers of its own,")
        self.base = settled(base if base is not None else RunConfig(evaluations=4))
        self.grid = Grid(self.base, methods, budgets, seeds, options or {})
        runs_them = Backend.of(backend, address, environment)
        self._asked = self.workers = Workers.of(workers, devices, self.base, runs_them)
        self.out = given_path(out, "out")
        self._cache = DataCache()
        self._rank_by_task(lrs)
        for name in self.grid.methods:
            self._cells_to_come(name)  # refuses bad budgets, seeds and learning rates
        self._pin(claim_folder(self.out, self.base, self.grid.configs, self.search.given))
        self._rank_by_task(lrs)
        for name in self.grid.methods:
            self.search.recall(name)

    def _pin(self, settings: Mapping[str, Any]) -> None:
        """Every cell is of one task, and computes in what ``auto`` stood for in the first one."""
        self.base = self.grid.base = dataclasses.replace(self.base, **settings)

    def _rank_by_task(self, lrs: Sequence[float] | None) -> None:
        self.task = named_task(self.base.task)
        self.search = LRSearch(self.out / "tuning", lrs, self.task.ranking)
        self._results = Results(self.out, self.task)

    def find_task(self) -> str:
        """Ask the data which task the runs are of, where nobody has said so; all keep to it.

        :meth:`run` does it first of all. A comparison that has begun keeps to what it began with.

        Returns:
            What was taken and what speaks for it, in one line; empty where nothing was asked.
        """
        if self.base.task is not None or has_begun(self.out):
            return ""
        try:
            task, _ = task_and_data(self.base, self._cache)
        except (ValueError, OSError, ImportError):
            return ""  # every cell will say it
        if (name := pinned_name(task)) is not None:
            pin(self.out, task=name)
            self._pin({"task": name})
            self._rank_by_task(self.search.given)
        return guessed_because(task)

    @property
    def tuning(self) -> list[dict[str, Any]]:
        """What was tried to choose the learning rates."""
        return self.search.tried

    def trials(self, name: str) -> list[Cell]:
        """Runs that choose a method's learning rate: first seed, middle budget, validation."""
        return [self.grid.trial(name, lr) for lr in self.search.first(name)]

    def cells(self, name: str) -> list[Cell]:
        """A method's runs at its chosen learning rate, each once."""
        return self.grid.cells(name, self.search.best(name))

    def run(self) -> Generator[Step, None, None]:
        """Run what is not finished yet: the search of each method, then its cells.

        Another process may run the same comparison in the same folder at the same time: what one
        of them works on, the others leave to it.
        """
        self.find_task()
        self._done = 0
        self._total = sum(c.steps for n in self.grid.methods for c in self._cells_to_come(n))
        with contextlib.closing(self._runner()) as self._running:
            # In turn, a method's rows are there before the next one's search begins.
            names = self.grid.methods
            is_in_turn = self.workers.is_this_process
            for group in [[name] for name in names] if is_in_turn else [names]:
                yield from self._tune(group)
                yield from self._steps([cell for name in group for cell in self.cells(name)])

    def _runner(self) -> InTurn | SideBySide:
        if self.workers.is_this_process:
            return InTurn(self.out, self._resolved, self._results.remark, self._cache)
        out = Path(os.path.abspath(self.out))
        opened = open_engine(self._asked, self.base, out)
        # Each worker would resolve it by itself, and two machines could differ.
        if self.base.precision == "auto" and opened.precision:
            self._resolved(opened.precision)
        self.workers = dataclasses.replace(self._asked, count=opened.count)
        return SideBySide(out, opened.engine, opened.count, self._results.remark)

    def _resolved(self, precision: str) -> None:
        self._pin({"precision": precision})
        pin(self.out, precision=precision)

    def _cells_to_come(self, name: str) -> list[Cell]:
        return ([] if name in self.search.chosen else self.trials(name)) + self.cells(name)

    def _tune(self, names: Sequence[str]) -> Iterator[Step]:
        """All trials of a round, then those further outwards, until no best is at an edge."""
        names = [name for name in names if name not in self.search.chosen]
        for name in names:
            self.search.begin(name)
        trials = {name: self.trials(name) for name in names}
        while any(trials.values()):
            yield from self._steps([cell for cells in trials.values() for cell in cells])
            for name, cells in trials.items():
                for cell in cells:
                    self._note_trial(name, cell)
            trials = {name: self._further(name) for name in names}
        self.search.sort(self.grid.methods)  # as if they had been searched in turn
        for name in names:
            self.search.choose(name)

    def _further(self, name: str) -> list[Cell]:
        rate = self.search.further(name)
        cells = [] if rate is None else [self.grid.trial(name, rate)]
        self._total += sum(cell.steps for cell in cells)
        return cells

    def _steps(self, cells: Sequence[Cell]) -> Iterator[Step]:
        going: dict[str, int] = {}
        for moved in self._running.run(cells):
            name, outcome = moved.cell.name, moved.outcome
            going[name] = moved.steps
            if outcome is not None:
                self._done += moved.cell.steps
                del going[name]
                if outcome.error is not None:
                    self._results.errors[name] = outcome.error
            done = self._done + sum(going.values())
            found = outcome is not None and outcome.was_there
            active = tuple(going)
            yield Step(moved.cell, done, self._total, outcome is not None, found, active)

    def _note_trial(self, name: str, cell: Cell) -> None:
        """Keep what was tried."""
        result = self._results.result(cell)
        facts = {"method": name, "budget": cell.budget, "seed": cell.seed}
        facts |= {"lr": cell.config.lr, "error": self._results.error(cell)}
        score = result and result[self.task.ranking.key]
        self.search.note({**facts, self.search.column: score})

    def rows(self) -> list[Row]:
        """One row per method, budget and seed; plain types only.

        A method without a size to choose is run once per seed and stands at every budget; one
        that trains nothing is run once per budget and stands at every seed.
        """
        return [
            self._results.row(self.grid, name, budget, seed, self.search.best(name))
            for name in self.grid.methods
            for budget in self.grid.budgets
            for seed in self.grid.seeds
        ]
