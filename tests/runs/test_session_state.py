"""The time left: of the whole run, from what its parts cost and the pace of the one under way."""

from dataclasses import FrozenInstanceError

import pytest
from torch import nn

from pclora_lab.runs import session_state
from pclora_lab.runs.session_state import PartDone, Progress, SessionState
from pclora_lab.training.events import (
    AdapterSnapshot,
    LogRow,
    PhaseCost,
    PhaseStart,
    Planned,
    RunEnd,
    StepEnd,
)

PARTS = (
    PhaseCost("teacher", 10, 300.0),
    PhaseCost("fade", 6, 240.0),
    PhaseCost("after", 4, 80.0),
    PhaseCost("test", 0, 50.0),
)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test moves by hand."""
    now = [100.0]
    monkeypatch.setattr(session_state.time, "monotonic", lambda: now[0])
    return now


def take_steps(progress, clock, phase, steps, seconds, first=1):
    for step in range(first, first + steps):
        clock[0] += seconds
        progress.take(StepEnd(phase, step, 10))


@pytest.fixture
def progress(clock):
    progress = Progress()
    progress.take(PhaseStart("data", 0))
    progress.take(Planned(PARTS))
    return progress


def test_before_the_first_step_nobody_knows(progress):
    assert progress.eta_seconds() is None
    assert [part.done for part in progress.parts()] == [0, 0, 0, 0]
    assert sum(part.share for part in progress.parts()) == pytest.approx(1)


def test_the_teachers_pace_tells_the_time_of_all_that_comes_after(progress, clock):
    progress.take(PhaseStart("teacher", 10))
    take_steps(progress, clock, "teacher", 5, seconds=3.0)  # 30 passes in 3 seconds
    assert progress.eta_seconds() == pytest.approx((150 + 240 + 80 + 50) / 10)
    assert progress.parts()[0].done == 0.5


def test_each_part_has_a_pace_of_its_own(progress, clock):
    progress.take(PhaseStart("fade", 10))
    take_steps(progress, clock, "fade", 6, seconds=4.0)  # 40 passes in 4 seconds
    assert [part.done for part in progress.parts()] == [1, 1, 0, 0]
    assert progress.eta_seconds() == pytest.approx((80 + 50) / 10)
    take_steps(progress, clock, "fade", 2, seconds=4.0, first=7)  # 20 passes in 4 seconds
    assert [part.done for part in progress.parts()] == [1, 1, 0.5, 0]
    assert progress.eta_seconds() == pytest.approx((40 + 50) / 5)


def test_the_time_left_falls_while_a_step_or_the_test_is_under_way(progress, clock):
    progress.take(PhaseStart("fade", 10))
    take_steps(progress, clock, "fade", 10, seconds=4.0)
    progress.take(PhaseStart("test", 0))
    before = progress.eta_seconds()
    clock[0] += 1.5
    assert progress.eta_seconds() == pytest.approx(before - 1.5)
    clock[0] += 1000
    assert progress.eta_seconds() == 0


def test_a_pause_is_not_counted(progress, clock):
    progress.take(PhaseStart("fade", 10))
    take_steps(progress, clock, "fade", 2, seconds=4.0)
    before = progress.eta_seconds()
    progress.stop_clock()
    clock[0] += 500
    assert progress.eta_seconds() == before
    progress.start_clock()
    take_steps(progress, clock, "fade", 1, seconds=4.0, first=3)
    assert progress.eta_seconds() == pytest.approx(before - 4.0)


def test_a_run_that_is_taken_up_counts_its_own_steps_only(progress, clock):
    progress.take(PhaseStart("fade", 10))
    take_steps(progress, clock, "fade", 1, seconds=4.0, first=5)
    assert progress.eta_seconds() == pytest.approx((40 + 80 + 50) / 10)


def test_a_finished_run_is_done(progress, clock):
    progress.take(PhaseStart("test", 0))
    progress.take(RunEnd({"accuracy": 1.0}, None, None))
    assert [part.done for part in progress.parts()] == [1, 1, 1, 1]


def test_without_a_plan_each_step_costs_as_much(clock):
    progress = Progress()
    progress.take(PhaseStart("fade", 10))
    take_steps(progress, clock, "fade", 4, seconds=2.0)
    assert progress.eta_seconds() == pytest.approx(12) and progress.parts() == ()


def test_what_was_told_is_kept_and_a_phase_begins_at_its_first_step(clock):
    progress = Progress()
    assert (progress.phase, progress.step, progress.steps) == ("", 0, 0)
    assert (progress.planned, progress.rows, progress.parts()) == ((), [], ())
    assert progress.result is progress.student is progress.teacher is None
    progress.take(PhaseStart("teacher", 7))
    take_steps(progress, clock, "teacher", 3, seconds=1.0)
    progress.take(LogRow({"step": 3}))
    progress.take(AdapterSnapshot(3, 0.5, {}))
    assert (progress.phase, progress.step, progress.steps) == ("teacher", 3, 7)
    progress.take(PhaseStart("start", 0))
    assert (progress.phase, progress.step, progress.steps) == ("start", 0, 0)
    student, teacher = nn.Identity(), nn.Identity()
    progress.take(RunEnd({"accuracy": 1.0}, student, teacher))
    assert progress.rows == [{"step": 3}] and progress.result == {"accuracy": 1.0}
    assert progress.student is student and progress.teacher is teacher


def test_a_part_has_the_share_of_the_whole_cost_that_was_counted(progress):
    assert progress.parts() == tuple(
        PartDone(name, passes / 670, 0.0)
        for name, passes in (("teacher", 300), ("fade", 240), ("after", 80), ("test", 50))
    )


@pytest.mark.parametrize(
    ("phase", "done"),
    [
        ("waiting", [0, 0, 0, 0]),
        ("teacher", [0, 0, 0, 0]),
        ("start", [1, 0, 0, 0]),
        ("fade", [1, 0, 0, 0]),
        ("test", [1, 1, 1, 0]),
    ],
)
def test_what_comes_before_a_phase_is_done_and_what_comes_after_is_not(progress, phase, done):
    progress.take(PhaseStart(phase, 10))
    assert [part.done for part in progress.parts()] == done


def test_before_a_phases_first_step_the_time_left_is_that_of_all_that_is_ahead(progress, clock):
    """How long the student is prepared nobody has counted."""
    progress.take(PhaseStart("teacher", 10))
    take_steps(progress, clock, "teacher", 10, seconds=3.0)
    progress.take(PhaseStart("start", 0))
    for _ in range(2):
        assert progress.eta_seconds() == pytest.approx((240 + 80 + 50) / 10)
        clock[0] += 5


def test_a_plan_without_a_part_for_the_phase_counts_its_steps_alike(clock):
    progress = Progress()
    progress.take(Planned((PhaseCost("test", 0, 50.0),)))
    progress.take(PhaseStart("teacher", 4))
    take_steps(progress, clock, "teacher", 1, seconds=2.0)
    assert progress.eta_seconds() == pytest.approx(100)  # 50 passes at two seconds each


def test_a_phase_that_told_no_number_of_steps_has_no_time_left(clock):
    progress = Progress()
    progress.take(PhaseStart("fade", 0))
    take_steps(progress, clock, "fade", 1, seconds=2.0)
    assert progress.eta_seconds() == 0


def test_what_a_view_is_given_stays_as_it_was():
    seen = SessionState("running", "fade", 1, 2, None, (), None, None)
    assert (seen.stopping, seen.lambda_override, seen.parts) == (False, None, ())
    for thing, name in ((seen, "state"), (PartDone("test", 0.5, 0.5), "done")):
        with pytest.raises(FrozenInstanceError):
            setattr(thing, name, None)
