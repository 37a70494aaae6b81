"""Every method at every budget and seed, on the same data and steps: one table.

The steps are the method's own. Compressors start from a teacher that fits the data, which may have
been fine-tuned before; ``starts_from`` says so in every row.

A comparison is a folder of runs, one per cell. A cell that is finished is not run again, one that
was stopped is taken up; one that fails is a row with its reason, and the rest goes on.
"""

import contextlib
import dataclasses
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pclora_lab.data.cache import DataCache
from pclora_lab.files import given_path
from pclora_lab.locks import FolderLock
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.registry import make_method, method_class
from pclora_lab.remarks import Remarks
from pclora_lab.runs import result_columns
from pclora_lab.runs.comparison.claim import claim_folder, pin_precision
from pclora_lab.runs.comparison.grid import Cell, Grid
from pclora_lab.runs.comparison.lr_search import LRSearch
from pclora_lab.runs.durable.places import settled
from pclora_lab.runs.durable.stored import read_result
from pclora_lab.runs.execution import Execution, execute
from pclora_lab.runs.folder import delete_run
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.resuming import can_resume, resume
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import refuse_several_processes
from pclora_lab.training.events import Resolved, Result, Row, StepEnd
from pclora_lab.wording import explained

__all__ = ["Comparison", "Step"]


@dataclass(frozen=True)
class Step:
    """Progress of a whole comparison, in optimizer steps; ``ends_cell`` where a run is over."""

    cell: Cell
    done: int
    total: int
    ends_cell: bool = False


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

    Raises:
        ValueError: unknown method, a budget outside (0, 1], nothing to compare, or a folder that
            holds a comparison with another configuration.
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
    ) -> None:
        refuse_several_processes()
        self.base = settled(base if base is not None else RunConfig(evaluations=4))
        self.grid = Grid(self.base, methods, budgets, seeds, options or {})
        self.out = given_path(out, "out")
        self.search = LRSearch(self.out / "tuning", lrs)
        for name in self.grid.methods:
            self._cells_to_come(name)  # refuses bad budgets, seeds and learning rates
        self._pin(claim_folder(self.out, self.base, self.grid.configs, self.search.given))
        for name in self.grid.methods:
            self.search.recall(name)
        self.errors: dict[str, str] = {}
        self._remarks = Remarks()

    def _pin(self, precision: str) -> None:
        """Every cell computes in what ``auto`` stood for in the first one."""
        self.base = self.grid.base = dataclasses.replace(self.base, precision=precision)

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
        """Run what is not finished yet, one cell after the other.

        Raises:
            RuntimeError: another process, or another thread, runs it.
        """
        lock = FolderLock(self.out)
        if not lock.acquire():
            raise RuntimeError(
                f"{self.out} is being run by {lock.holder}: wait for it, or choose another folder"
            )
        try:
            yield from self._run()
        finally:
            lock.release()

    def _run(self) -> Iterator[Step]:
        self._done, self._cache = 0, DataCache()
        self._total = sum(c.steps for n in self.grid.methods for c in self._cells_to_come(n))
        for name in self.grid.methods:
            yield from self._tune(name)
            for cell in self.cells(name):
                yield from self._steps(cell)

    def _cells_to_come(self, name: str) -> list[Cell]:
        return ([] if name in self.search.chosen else self.trials(name)) + self.cells(name)

    def _tune(self, name: str) -> Iterator[Step]:
        if name in self.search.chosen:
            return
        self.search.begin(name)
        trials = self.trials(name)
        for cell in trials:  # grows while the best learning rate is at the edge
            yield from self._steps(cell)
            self._note_trial(name, cell)
            further = self.search.further(name) if cell is trials[-1] else None
            if further is not None:
                trials.append(self.grid.trial(name, further))
                self._total += cell.steps
        self.search.choose(name)

    def _steps(self, cell: Cell) -> Iterator[Step]:
        for step in self._run_cell(cell, self._cache):
            yield Step(cell, self._done + step, self._total)
        self._done += cell.steps
        yield Step(cell, self._done, self._total, ends_cell=True)

    def _run_cell(self, cell: Cell, cache: DataCache) -> Iterator[int]:
        if self._result(cell) is not None:
            return
        try:
            with closing(self._begin(cell, cache)) as events:
                for event in events:
                    if isinstance(event, Resolved):
                        self._pin(event.config.precision)
                        pin_precision(self.out, event.config.precision)
                    if isinstance(event, StepEnd):
                        # The steps of a teacher are no steps of the cell, but whoever wants to stop
                        # is not kept waiting until it is done.
                        yield event.step if event.phase == "fade" else 0
        except Exception as error:  # noqa: BLE001 - becomes a row; the other cells go on
            self.errors[cell.name] = f"{type(error).__name__}: {explained(error)}"

    def _begin(self, cell: Cell, cache: DataCache) -> Execution:
        """The cell's run, from its checkpoint if it has left one."""
        folder = self._folder(cell)
        if can_resume(folder) and _goes_on(folder, cell.config):
            return resume(folder, cache=cache)
        if folder.is_dir():
            if any(folder.iterdir()):
                delete_run(folder)
            else:  # a process was killed as soon as it had made it
                folder.rmdir()
        return execute(cell.config, folder.parent, name=cell.name, teachers=self.out, cache=cache)

    def _folder(self, cell: Cell) -> Path:
        return self.out / "cells" / cell.name

    def _note_trial(self, name: str, cell: Cell) -> None:
        """Keep what was tried."""
        result = self._result(cell)
        facts = {"method": name, "budget": cell.budget, "seed": cell.seed}
        facts |= {"lr": cell.config.lr, "error": self._error(cell)}
        self.search.note({**facts, "validation_accuracy": result and result["accuracy"]})

    def _result(self, cell: Cell) -> Result | None:
        try:
            result = read_result(self._folder(cell), measured=True)
        except (OSError, ValueError) as error:
            what = f"the result of the cell {cell.name} can't be used: {error}. It is run again"
            self._remarks.failed(what, what)
            return None
        # One at another learning rate is left over from before the choice changed.
        trained = method_class(cell.method).trains
        stale = result is not None and trained and result.get("lr") != cell.config.lr
        return None if stale else result

    def _error(self, cell: Cell) -> str | None:
        if self._result(cell) is not None:
            return None
        if cell.name in self.errors:
            return self.errors[cell.name]
        folder = self._folder(cell)
        if not folder.is_dir():
            return "not run yet"
        try:
            run = load_run(folder)
            return "its result is missing" if run.status == "finished" else run.error
        except (OSError, ValueError) as error:
            return f"not run yet: {error}"

    def rows(self) -> list[Row]:
        """One row per method, budget and seed; plain types only.

        A method without a size to choose is run once per seed and stands at every budget; one
        that trains nothing is run once per budget and stands at every seed.
        """
        return [
            self._row(name, budget, seed)
            for name in self.grid.methods
            for budget in self.grid.budgets
            for seed in self.grid.seeds
        ]

    def _row(self, name: str, budget: float, seed: int) -> dict[str, Any]:
        lr = self.search.best(name)
        cell = self.grid.cell(name, budget, seed, lr)
        result = self._result(cell) or {}
        facts = {key: result.get(key) for key in result_columns.compared_keys()}
        return {
            "method": name,
            "budget": budget,
            "seed": seed,
            **facts,
            "uses_budget": cell.budget is not None,
            "starts_from": make_method(self.grid.configs[name]).starts_from,
            "steps": self.base.steps if method_class(name).trains else 0,
            "error": self._error(cell),
        }


def _goes_on(folder: Path, config: RunConfig) -> bool:
    """Whether a run folder is one of a configuration, and something is left to do."""
    with contextlib.suppress(TypeError, ValueError, OSError):
        run = load_run(folder)
        known = RunConfig.from_dict(run.config)
        if config.precision == "auto":  # killed before the comparison knew
            config = dataclasses.replace(config, precision=known.precision)
        return run.status != "finished" and known == config
    return False
