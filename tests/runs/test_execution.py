"""One way to run, and what a logger hears of it."""

import dataclasses
import os
from pathlib import Path

import pytest

from pclora_lab import RunConfig, Session, load_run, resume
from pclora_lab.runs import execute, execution
from pclora_lab.runs.execution import Execution
from pclora_lab.training import LogRow, RunEnd, StepEnd

QUICK = RunConfig(steps=4, evaluations=1, eval_images=16, device="cpu", snapshots=0)


class Memory:
    """Keeps all that it hears."""

    def __init__(self):
        self.events, self.closed = [], 0

    def log(self, event):
        self.events.append(event)

    def close(self):
        self.closed += 1


class Broken(Memory):
    def log(self, event):
        super().log(event)
        raise OSError("no connection")


def test_a_run_is_written_down_and_told(tmp_path):
    memory = Memory()
    run = execute(QUICK, tmp_path, name="mine", loggers=[memory])
    assert run.folder == tmp_path / "mine" and not memory.events
    events = list(run)
    assert memory.events == events and memory.closed == 1
    assert isinstance(events[-1], RunEnd)
    rows = [event.values for event in events if isinstance(event, LogRow)]
    assert len(load_run(run.folder).rows) == len(rows)


def test_a_logger_that_fails_is_left_out_and_the_run_goes_on(tmp_path):
    broken, memory = Broken(), Memory()
    with pytest.warns(
        UserWarning, match="Broken.log failed .OSError: no connection.; the run goes"
    ):
        *_, end = execute(QUICK, tmp_path, loggers=[broken, memory])
    assert isinstance(end, RunEnd) and len(broken.events) == 1 < len(memory.events)
    assert broken.closed == memory.closed == 1


@pytest.mark.filterwarnings("error")
def test_it_ends_no_run_where_warnings_are_errors(tmp_path):
    *_, end = execute(QUICK, tmp_path, loggers=[Broken()])
    assert isinstance(end, RunEnd)


def test_a_run_that_is_closed_is_stopped_and_can_be_taken_up_with_loggers(tmp_path):
    first, rest = Memory(), Memory()
    run = execute(QUICK, tmp_path, loggers=[first])
    for event in run:
        if isinstance(event, StepEnd) and event.step == 2:
            break
    run.close()
    assert first.closed == 1 and load_run(run.folder).status == "stopped"
    *_, end = resume(run.folder, loggers=[rest])
    assert rest.events[-1] is end and load_run(run.folder).status == "finished"


def test_a_session_tells_loggers_too(tmp_path):
    memory = Memory()
    session = Session(QUICK, tmp_path, loggers=[memory]).start()
    result = session.wait(timeout=120)
    assert memory.events[-1].result == result and memory.closed == 1


def test_a_device_that_is_not_there_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="unknown device"):
        execute(RunConfig(device="abacus"), tmp_path)
    assert list(tmp_path.iterdir()) == []


# With made events


@pytest.fixture
def made(monkeypatch):
    """Runs whose events a test makes; notes what each was trained with."""
    trained = []

    def put(*events):
        def train(config, home, **more):
            trained.append({"config": config, "home": home, **more})
            yield from events

        monkeypatch.setattr(execution, "train", lambda *a, **k: train(*a, **k))
        return trained

    return put


STEPS = [StepEnd("fade", n, 2) for n in (1, 2)]


@pytest.mark.parametrize(("teachers", "home"), [(None, "runs"), ("kept", "kept")])
def test_teachers_are_kept_in_the_folder_of_runs_or_where_it_was_said(
    made, tmp_path, monkeypatch, teachers, home
):
    trained, cache, hand = made(*STEPS), object(), object()
    monkeypatch.chdir(tmp_path)
    list(execute(QUICK, "runs", teachers=teachers, cache=cache, lambda_override=hand))
    assert trained == [
        {"config": QUICK, "home": Path(home), "cache": cache, "lambda_override": hand}
    ]
    assert len(list((tmp_path / "runs").iterdir())) == 1 and not (tmp_path / "kept").exists()


def test_a_run_goes_into_the_folder_runs_under_a_name_of_its_settings(made, tmp_path, monkeypatch):
    made(*STEPS)
    monkeypatch.chdir(tmp_path)
    first, second = execute(QUICK), execute(QUICK)
    assert first.folder.parent == second.folder.parent == Path("runs")
    assert second.folder.name == f"{first.folder.name}-2"
    assert execute(QUICK, name="mine").folder == Path("runs/mine")


def test_relative_paths_are_made_whole(made, tmp_path, monkeypatch):
    trained = made(*STEPS)
    (tmp_path / "net").mkdir()
    monkeypatch.chdir(tmp_path)
    list(execute(dataclasses.replace(QUICK, model="net"), "runs"))
    assert trained[0]["config"].model == str(tmp_path / "net")


def test_each_logger_is_told_each_event_after_it_was_written_and_closed_once(made, tmp_path):
    made(LogRow({"step": 1}), *STEPS)
    told = []

    class Reader(Memory):
        def log(self, event):
            told.append((type(event).__name__, len(load_run(run.folder).rows)))

    run = execute(QUICK, tmp_path, loggers=(Reader(), last := Memory()))
    assert list(run) == last.events and last.closed == 1
    assert told == [("LogRow", 1), ("StepEnd", 1), ("StepEnd", 1)]


def test_a_logger_that_can_not_even_be_closed_ends_nothing(made, tmp_path):
    class Lost(Broken):
        def close(self):
            raise ValueError("gone")

    made(*STEPS)
    with pytest.warns(UserWarning) as said:
        assert list(execute(QUICK, tmp_path, loggers=[Lost(), last := Memory()])) == STEPS
    texts = [str(one.message) for one in said]
    assert texts == [
        "Lost.log failed (OSError: no connection); the run goes on without it",
        "Lost.close failed (ValueError: gone); the run goes on without it",
    ]
    assert last.events == STEPS and last.closed == 1


def test_loggers_are_closed_where_the_run_fails_too(tmp_path):
    def fails():
        yield STEPS[0]
        raise RuntimeError("no memory")

    memory = Memory()
    with pytest.raises(RuntimeError, match="no memory"):
        list(Execution(tmp_path, fails(), [memory]))
    assert memory.closed == 1 and memory.events == STEPS[:1]


def test_events_need_not_be_a_generator_and_one_that_is_is_closed(tmp_path):
    plain = Execution(tmp_path, iter(STEPS))
    assert next(plain) is STEPS[0] and plain.folder == tmp_path
    plain.close()
    closed = []

    def events():
        try:
            yield from STEPS
        finally:
            closed.append(True)

    run = Execution(tmp_path, events())
    next(run)
    run.close()
    assert closed == [True]


def test_a_forked_child_does_not_tell_loggers_that_the_run_is_over(tmp_path):
    memory = Memory()
    run = Execution(tmp_path, iter(STEPS), [memory])
    next(run)
    child = os.fork()
    if child == 0:
        run.close()
        os._exit(memory.closed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    run.close()
    assert memory.closed == 1


def test_a_tracker_that_is_not_there_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="unknown tracker 'no_such_tracker'"):
        execute(dataclasses.replace(QUICK, log_with="no_such_tracker"), tmp_path)
    assert list(tmp_path.iterdir()) == []
