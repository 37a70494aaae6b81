"""A cell tells how far it is, in steps of its own."""

from pclora_lab.runs.comparison import cells
from pclora_lab.runs.comparison.cells import cell_steps
from pclora_lab.runs.comparison.grid import Cell
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import StepEnd


def test_the_steps_of_a_teacher_are_no_steps_of_the_cell(tmp_path, monkeypatch):
    events = [StepEnd("teacher", step, 2) for step in (1, 2)]
    events += [StepEnd("fade", step, 3) for step in (1, 2, 3)]

    monkeypatch.setattr(cells, "_begin", lambda *_: (event for event in events))
    cell = Cell("one", "pclora", 0.2, 0, RunConfig(steps=3))
    assert list(cell_steps(cell, tmp_path)) == [0, 0, 1, 2, 3]
