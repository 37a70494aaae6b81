"""Cells of one process: a busy one is put off, and waited for only when nothing else is left."""

from types import SimpleNamespace

import pytest

from pclora_lab.runs.comparison import in_turn
from pclora_lab.runs.comparison.cells import CellBusy
from pclora_lab.runs.comparison.in_turn import SECONDS_BETWEEN_TRIES, InTurn

A, B = SimpleNamespace(steps=1), SimpleNamespace(steps=1)


@pytest.fixture
def told(monkeypatch):
    """What happens, in its order; the first cell is somebody else's the first two times."""
    seen = []

    def steps(cell, out, cache, resolved):
        if cell is A and seen.count("busy") < 2:
            seen.append("busy")
            raise CellBusy("A")
        seen.append(cell)
        yield 1

    monkeypatch.setattr(in_turn, "cell_result", lambda cell, *_: {} if cell is None else None)
    monkeypatch.setattr(in_turn, "cell_steps", steps)
    monkeypatch.setattr(in_turn.time, "sleep", seen.append)
    return seen


def test_a_cell_that_somebody_else_runs_is_waited_for_when_nothing_else_is_left(told, tmp_path):
    runner = InTurn(tmp_path, lambda precision: None, lambda text: None)
    moved = [step for step in runner.run([A, B]) if step.outcome is None]
    assert told == ["busy", B, "busy", SECONDS_BETWEEN_TRIES, A]
    # Whoever wants to stop is asked each time.
    assert [(step.cell, step.steps) for step in moved] == [(A, 0), (B, 1), (A, 0), (A, 1)]
