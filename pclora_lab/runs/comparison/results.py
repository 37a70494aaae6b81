"""What came out of a comparison's cells, read from their folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pclora_lab.methods.registry import make_method, method_class
from pclora_lab.remarks import Remarks
from pclora_lab.runs import result_columns
from pclora_lab.runs.comparison.cells import cell_folder, cell_result
from pclora_lab.runs.comparison.grid import Cell, Grid
from pclora_lab.runs.reader import load_run
from pclora_lab.tasks.base import Task
from pclora_lab.training.events import Result

__all__ = ["Results"]


class Results:
    """Results of cells, and why some have none.

    Args:
        out: the comparison's folder.
        task: says what a result holds.

    Attributes:
        errors: what ended a cell in this process, by the cell's name.
        remark: says of a result once that it can't be used.
    """

    def __init__(self, out: Path, task: Task) -> None:
        self._out, self._task, remarks = out, task, Remarks()
        self.errors: dict[str, str] = {}
        self.remark: Callable[[str], object] = lambda text: remarks.failed(text, text)

    def result(self, cell: Cell) -> Result | None:
        """What came out of a cell; None where it is still to be run."""
        return cell_result(cell, self._out, self.remark)

    def error(self, cell: Cell) -> str | None:
        """Why a cell has no result; None where it has one."""
        if self.result(cell) is not None:
            return None
        if cell.name in self.errors:
            return self.errors[cell.name]
        folder = cell_folder(cell, self._out)
        if not folder.is_dir():
            return "not run yet"
        try:
            run = load_run(folder)
            return "its result is missing" if run.status == "finished" else run.error
        except (OSError, ValueError) as error:
            return f"not run yet: {error}"

    def row(self, grid: Grid, name: str, budget: float, seed: int, lr: float) -> dict[str, Any]:
        """The row of a method at a budget and a seed; plain types only.

        Args:
            grid: of the comparison.
            name: of the method.
            budget: of the row.
            seed: of the row.
            lr: that was chosen.
        """
        cell = grid.cell(name, budget, seed, lr)
        result = self.result(cell) or {}
        facts = {key: result.get(key) for key in result_columns.compared_keys(self._task.metrics)}
        return {
            "method": name,
            "budget": budget,
            "seed": seed,
            **facts,
            "uses_budget": cell.budget is not None,
            "starts_from": make_method(grid.configs[name]).starts_from,
            "steps": grid.base.steps if method_class(name).trains else 0,
            "error": self.error(cell),
        }
