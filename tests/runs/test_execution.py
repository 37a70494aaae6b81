"""One way to run, and what a logger hears of it."""

import pytest

from pclora_lab import RunConfig, Session, load_run, resume
from pclora_lab.runs import execute
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
