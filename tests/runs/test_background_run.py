"""A run in a thread: where it may hold and end, what is said of it, and what it lets go of."""

import threading
import weakref
from pathlib import Path

import pytest
import torch
from waiting import until

from pclora_lab.runs.background_run import BackgroundRun, tell_watchers, unwatch_runs, watch_runs
from pclora_lab.runs.execution import Execution
from pclora_lab.runs.session_state import Progress
from pclora_lab.training.events import AdapterSnapshot, LogRow, PhaseStart, RunEnd, StepEnd

END = RunEnd({"accuracy": 0.5}, torch.nn.Identity(), torch.nn.Identity())


def begun(events, run=None, ended=None):
    """A run of made events, which get the run to press its buttons between two of them."""
    run = run or BackgroundRun()
    run.folder = Path("runs/one")
    run._begin(lambda: Execution(run.folder, events(run)), ended or (lambda: None))
    return run


def over(run):
    until(lambda: not run.is_live, 10)
    return run


def one_step(run):
    yield StepEnd("fade", 1, 1)
    yield END


class Gate:
    """Events that come to a halt inside a step until they are let through."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, run):
        yield StepEnd("fade", 1, 2)
        self.reached.set()
        self.opened.wait(10)
        yield StepEnd("fade", 2, 2)
        yield END


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.opened.set()


# What it is and says


def test_a_run_goes_from_new_over_running_to_finished(gate):
    run = BackgroundRun()
    assert (run.state, run.is_live, run.is_stopping) == ("new", False, False)
    assert run.error is None and run.result is None and run.folder is None
    begun(gate, run)
    gate.reached.wait(10)
    assert (run.state, run.is_live, run.result) == ("running", True, None)
    gate.opened.set()
    assert run.wait(10) == END.result == run.result
    assert (run.state, run.is_live, run.is_stopping) == ("finished", False, False)
    assert run.error is None


def test_its_thread_is_named_after_the_folder_and_keeps_no_process_alive():
    seen = []

    def events(run):
        seen.append(threading.current_thread())
        yield END

    begun(events).wait(10)
    run = BackgroundRun()
    run._begin(lambda: Execution(Path("x"), events(run)), lambda: None)
    run.wait(10)
    assert [thread.name for thread in seen] == ["run one", "run"]
    assert all(thread.daemon for thread in seen)


def test_its_end_is_told_once_however_it_ends():
    def fails(run):
        yield PhaseStart("data", 0)
        raise RuntimeError("no memory")

    def stops(run):
        run.stop(wait=False)
        yield StepEnd("fade", 1, 9)

    ends = []
    for events, state in ((one_step, "finished"), (fails, "failed"), (stops, "stopped")):
        run = BackgroundRun()
        begun(events, run, lambda run=run: ends.append(run.state))
        until(lambda: ends, 10)
        assert ends == [state] == [run.state]
        ends.clear()


def test_what_opens_a_run_does_not_live_as_long_as_it():
    class Opener:
        def __call__(self):
            return Execution(Path("x"), one_step(None))

    opener, run = Opener(), BackgroundRun()
    alive = weakref.ref(opener)
    run._begin(opener, lambda: None)
    del opener
    run.wait(10)
    until(lambda: alive() is None, 10)


def test_a_run_that_was_not_begun_has_nothing_to_take():
    with pytest.raises(RuntimeError, match="this run was not started: call start"):
        BackgroundRun()._take_all()


# Pause


def test_a_run_is_held_between_two_steps_and_not_before_what_belongs_to_one_is_told():
    """Where a row or a snapshot came last there is no checkpoint to stop with."""
    passed = []

    def events(run):
        run.pause()
        for event in (LogRow({"step": 0}), AdapterSnapshot(0, 1.0, {}), StepEnd("fade", 1, 2)):
            yield event
            passed.append(type(event).__name__)
        yield END

    run = begun(events)
    until(lambda: run.state == "paused", 10)
    assert passed == ["LogRow", "AdapterSnapshot"] and run.is_live
    assert run.state == "paused"
    run.resume()
    assert run.wait(10) == END.result and passed[-1] == "StepEnd"


def test_a_pause_stops_the_clock_until_the_run_goes_on():
    told = []

    class Clock(Progress):
        def stop_clock(self):
            told.append("stopped")
            super().stop_clock()

        def start_clock(self):
            told.append("started")
            super().start_clock()

    def events(run):
        yield StepEnd("fade", 1, 3)
        told.append("step")
        run.pause()
        yield StepEnd("fade", 2, 3)
        yield END

    run = BackgroundRun()
    run._progress = Clock()
    begun(events, run)
    until(lambda: run.state == "paused", 10)
    assert told == ["step", "stopped"]
    run.resume()
    run.wait(10)
    assert told == ["step", "stopped", "started"]


def test_a_pause_that_is_taken_back_within_the_step_holds_nothing():
    def events(run):
        run.pause()
        assert run.state == "running"
        run.resume()
        yield StepEnd("fade", 1, 1)
        yield END

    assert begun(events).wait(10) == END.result


@pytest.mark.parametrize(("button", "verb"), [("pause", "pause"), ("resume", "resume")])
def test_a_button_that_has_nothing_to_do_says_what_the_run_is(gate, button, verb):
    run = BackgroundRun()
    with pytest.raises(RuntimeError, match=f"^nothing to {verb}: this run is new$"):
        getattr(run, button)()
    begun(gate, run)
    gate.reached.wait(10)
    if button == "resume":
        with pytest.raises(RuntimeError, match="^nothing to resume: this run is running$"):
            run.resume()
    gate.opened.set()
    run.wait(10)
    with pytest.raises(RuntimeError, match=f"^nothing to {verb}: this run is finished$"):
        getattr(run, button)()


# Stop


def test_a_stop_is_taken_between_two_steps_and_closes_the_run():
    told = []

    def events(run):
        run.stop(wait=False)
        assert run.is_stopping and run.state == "running"
        for button in (run.pause, run.resume):
            with pytest.raises(RuntimeError, match="^this run is being stopped: wait for it$"):
                button()
        try:
            yield LogRow({"step": 0})
            told.append("row")
            yield StepEnd("fade", 1, 9)
            told.append("never")
        finally:
            told.append("closed")

    run = begun(events)
    assert run.wait(10) is None and run.state == "stopped" and not run.is_stopping
    assert told == ["row", "closed"] and run.error is None


def test_a_stop_that_comes_after_the_result_takes_nothing_away():
    def events(run):
        run.stop(wait=False)
        yield END

    run = begun(events)
    assert run.wait(10) == END.result and run.state == "finished"


def test_a_stop_waits_for_the_step_under_way_as_long_as_it_is_told(gate):
    run = begun(gate)
    gate.reached.wait(10)
    with pytest.raises(TimeoutError, match=r"^runs/one is still running after 0.01 s$"):
        run.stop(timeout=0.01)
    assert run.is_stopping
    gate.opened.set()
    run.stop()
    assert run.state == "stopped"
    run.stop()  # what is over stays as it is
    assert run.state == "stopped"


def test_a_stop_need_not_be_waited_for(gate):
    run = begun(gate)
    gate.reached.wait(10)
    run.stop(wait=False)
    assert run.state == "running"
    gate.opened.set()
    assert over(run).state == "stopped"


def test_a_run_that_was_not_started_can_not_be_stopped_or_waited_for():
    run = BackgroundRun()
    with pytest.raises(RuntimeError, match="nothing to stop: this run was not started"):
        run.stop()
    with pytest.raises(RuntimeError, match=r"nothing to wait for: call start\(\) first"):
        run.wait()


# Wait


def test_a_wait_gives_up_after_its_time_and_the_run_goes_on(gate):
    run = begun(gate)
    gate.reached.wait(10)
    with pytest.raises(TimeoutError, match=r"still running after 0.02 s"):
        run.wait(0.02)
    assert run.is_live and not run.is_stopping


def test_an_interrupt_of_a_wait_stops_the_run_first():
    class Interrupted(BackgroundRun):
        interrupts = 1

        def _wait_until_over(self, timeout):
            if self.interrupts:
                self.interrupts -= 1
                raise KeyboardInterrupt
            super()._wait_until_over(timeout)

    def endless(run):
        while True:
            yield StepEnd("fade", 1, 9)

    run = begun(endless, Interrupted())
    with pytest.raises(KeyboardInterrupt):
        run.wait()
    assert run.state == "stopped"


def test_what_ended_a_run_is_kept_and_raised_by_whoever_waits():
    def fails(run):
        yield StepEnd("fade", 1, 9)
        raise MemoryError("no room")

    run = begun(fails)
    for _ in range(2):
        with pytest.raises(MemoryError, match="no room"):
            run.wait(10)
    assert run.state == "failed" and isinstance(run.error, MemoryError) and run.result is None


# Watchers


class Watcher:
    def __init__(self):
        self.seen = []

    def run_started(self, run):
        self.seen.append(run)


class Blind(Watcher):
    def run_started(self, run):
        raise OSError("no eyes")


def test_watchers_are_told_until_they_want_no_more_and_one_that_fails_ends_nothing():
    one, blind, run = Watcher(), Blind(), BackgroundRun()
    watch_runs(blind)
    watch_runs(one)
    with pytest.warns(UserWarning, match="^Blind can't follow the run: no eyes$") as said:
        tell_watchers(run)
    assert one.seen == [run] and len(said) == 1
    unwatch_runs(blind)
    unwatch_runs(blind)  # no mistake
    tell_watchers(run)
    assert one.seen == [run, run]
    unwatch_runs(one)
    tell_watchers(run)
    assert one.seen == [run, run]


def test_a_watcher_is_not_held_by_being_told():
    watcher = Watcher()
    alive = weakref.ref(watcher)
    watch_runs(watcher)
    del watcher
    assert alive() is None
