"""A run in the background: every button, in and out of turn."""

import dataclasses
import gc
import json
import os
import time
import warnings
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn
from waiting import until

from pclora_lab import Session, load_compressed, load_run
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.runs import session as session_module
from pclora_lab.runs.background_run import unwatch_runs, watch_runs
from pclora_lab.runs.checkpoints import load_checkpoint
from pclora_lab.runs.execution import Execution
from pclora_lab.runs.session import live_session, stop_all
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, PhaseCost, PhaseStart, Planned, RunEnd, StepEnd
from pclora_lab.training.state import training_state

SHORT = RunConfig(
    method=PCLoRAConfig(rank=8, init="svd"), steps=8, evaluations=2, eval_images=40, device="cpu"
)
LONG = dataclasses.replace(SHORT, steps=5000)


@pytest.fixture(autouse=True)
def no_run_is_left():
    yield
    stop_all()


def test_start_returns_at_once_and_wait_gives_the_result(tmp_path):
    began = time.monotonic()
    session = Session(SHORT, tmp_path).start()
    assert time.monotonic() - began < 1
    result = session.wait(120)
    assert session.state == "finished"
    assert load_run(session.folder).status == "finished"
    written = json.loads((session.folder / "result.json").read_text())
    assert written == {**result, "run_dir": session.folder.name}
    assert load_compressed(session.folder / "compressed") is not None


def test_pause_holds_and_resume_goes_on(tmp_path):
    session = Session(LONG, tmp_path).start()
    until(lambda: session.snapshot().step > 2)
    session.pause()
    until(lambda: session.state == "paused")
    held = session.snapshot()
    time.sleep(0.5)
    assert session.snapshot().step == held.step and held.eta_seconds > 0
    session.resume()
    until(lambda: session.snapshot().step > held.step)


def test_stop_leaves_a_readable_run_and_a_free_device(tmp_path):
    session = Session(LONG, tmp_path).start()
    until(lambda: session.snapshot().step > 2)
    session.stop()
    assert session.state == "stopped" and session.wait() is None
    run = load_run(session.folder)
    assert run.status == "stopped" and len(run.rows) >= 1
    assert Session(SHORT, tmp_path).start().wait(120) is not None


def test_stop_works_while_paused(tmp_path):
    session = Session(LONG, tmp_path).start()
    until(lambda: session.snapshot().step > 0)
    session.pause()
    until(lambda: session.state == "paused")
    session.stop()
    assert session.state == "stopped"


def test_one_run_per_device_unless_it_is_replaced(tmp_path):
    first = Session(LONG, tmp_path).start()
    with pytest.raises(RuntimeError, match="a device takes one run at a time: stop it first"):
        Session(SHORT, tmp_path).start()
    second = Session(LONG, tmp_path).start(replace=True)
    assert first.state == "stopped" and second.state == "running"


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("stop", "nothing to stop: this run was not started"),
        ("pause", "nothing to pause: this run is new"),
        ("resume", "nothing to resume: this run is new"),
        ("wait", r"call start\(\) first"),
        ("export", "nothing to export: this run is new"),
    ],
)
def test_actions_before_the_start_say_so(tmp_path, action, message):
    session = Session(SHORT, tmp_path)
    with pytest.raises(RuntimeError, match=message):
        getattr(session, action)(*([tmp_path] if action == "export" else []))


def test_starting_twice_is_refused(tmp_path):
    session = Session(SHORT, tmp_path).start()
    with pytest.raises(RuntimeError, match="can't be started again"):
        session.start()


def test_an_error_is_kept_and_raised_by_wait(tmp_path):
    session = Session(dataclasses.replace(SHORT, model="vit_digit"), tmp_path).start()
    with pytest.raises(ValueError, match="did you mean vit_digits"):
        session.wait(60)
    assert session.state == "failed" and "vit_digits" in load_run(session.folder).error


def test_wait_gives_up_without_stopping_the_run(tmp_path):
    session = Session(LONG, tmp_path).start()
    with pytest.raises(TimeoutError, match="still running after 0.1 s"):
        session.wait(0.1)
    assert session.state == "running"


def test_an_unknown_device_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        Session(dataclasses.replace(SHORT, device="tpu"), tmp_path).start()
    assert list(tmp_path.iterdir()) == []


def test_a_stop_is_not_undone_by_pause_or_resume(tmp_path):
    session = Session(LONG, tmp_path).start()
    until(lambda: session.snapshot().step > 0)
    session.pause()
    until(lambda: session.state == "paused")
    with session._changed:  # the worker can't take the stop before this ends
        session.stop(wait=False)
        assert session.snapshot().stopping
        for action in (session.resume, session.pause):
            with pytest.raises(RuntimeError, match="is being stopped"):
                action()
    assert session.wait(60) is None and session.state == "stopped"
    assert not session.snapshot().stopping


@pytest.mark.parametrize("steps", [0, 1])
def test_a_failed_run_lets_go_of_its_models_at_once(tmp_path, monkeypatch, steps):
    alive = []

    def broken(config, root, **more):
        model = nn.Linear(4, 4)
        alive.append(weakref.ref(model))
        for step in range(steps):
            yield StepEnd("fade", step + 1, 9, partial(training_state, model, None))
        raise RuntimeError("out of memory")
        yield model

    monkeypatch.setattr("pclora_lab.runs.execution.train", broken)
    session = Session(SHORT, tmp_path).start()
    gc.disable()  # it may come too late for the next run
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            session.wait(60)
        until(lambda: alive[0]() is None, 5)
    finally:
        gc.enable()
    assert session.error is not None


def test_a_cell_that_changes_the_working_directory_does_not_scatter_the_run(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    session = Session(dataclasses.replace(SHORT, steps=40, snapshots=4), "runs").start()
    until(lambda: session.snapshot().step > 2)
    monkeypatch.chdir("elsewhere")
    session.wait(60)
    assert load_run(session.folder).status == "finished" and not list(Path.cwd().iterdir())
    assert session.folder.parent == tmp_path / "runs"


def test_a_pause_is_not_training_time(tmp_path):
    began = time.monotonic()
    session = Session(dataclasses.replace(SHORT, steps=600), tmp_path).start()
    until(lambda: session.snapshot().step > 2)
    for _ in range(2):  # the second one ends with a stop
        session.pause()
        until(lambda: session.state == "paused")
        time.sleep(2)
        if session.snapshot().rows[-1]["step"] == 0:
            session.resume()
            until(lambda: session.snapshot().rows[-1]["step"] > 0)
            in_rows = session.snapshot().rows[-1]["seconds"]
            assert in_rows < time.monotonic() - began - 2
    session.stop()
    assert in_rows < load_checkpoint(session.folder).seconds < time.monotonic() - began - 4


@pytest.fixture
def held(monkeypatch, tmp_path):
    """A session that seems to be going, in a folder of runs."""
    going = SimpleNamespace(is_live=True, root=tmp_path / "mine", stop=lambda wait=True: None)
    monkeypatch.setattr(session_module, "_holders", {"cpu": going})
    return going


def test_a_session_that_is_going_is_found_anywhere_or_in_its_own_folder(held, tmp_path):
    assert live_session() is held and live_session(tmp_path / "mine") is held
    assert live_session(str(tmp_path / "other" / ".." / "mine")) is held
    assert live_session(tmp_path / "other") is None
    held.is_live = False
    assert live_session() is None


def test_a_forked_process_has_none_of_its_parents_sessions(held):
    """Their threads are not there, so that it would wait for them for ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that it leaves behind
        child = os.fork()
    if child == 0:
        os._exit(live_session() is not None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert live_session() is held


# With made events


@pytest.fixture
def acted(monkeypatch, tmp_path):
    """Runs whose events a test makes; notes what each was opened with."""
    opened = []

    def put(*events, holds=True):
        def told():
            yield from events
            while holds:
                time.sleep(0.01)
                yield StepEnd("fade", 3, 9)

        def execute(config, root, **more):
            opened.append({"config": config, "root": root, **more})
            return Execution(root / f"run{len(opened)}", told())

        monkeypatch.setattr(session_module, "execute", execute)
        return opened

    return put


END = RunEnd({"accuracy": 0.5}, nn.Linear(2, 2), nn.Linear(2, 2))


def test_a_session_runs_what_it_was_given_where_it_was_given(acted, tmp_path, monkeypatch):
    opened, cache, logger = acted(END, holds=False), object(), object()
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(SHORT, overrides=((2, 0.5),))
    session = Session(config, "mine", cache=cache, loggers=[logger])
    assert session.root == tmp_path / "mine" and session.folder is None
    assert session.start() is session and session.wait(10) == END.result
    (given,) = opened
    assert given["config"] is config and given["root"] == tmp_path / "mine"
    assert given["cache"] is cache and given["loggers"] == (logger,)
    assert given["lambda_override"].at(2) == 0.5
    assert session.folder == tmp_path / "mine" / "run1"
    assert session.compressed is END.model and session.teacher is END.teacher
    assert Session(SHORT).root == tmp_path / "runs"


def test_what_a_view_sees_is_what_was_told_so_far(acted, tmp_path):
    rows = [{"step": 0, "lam": 1.0}, {"step": 2, "lam": 0.5}]
    planned = Planned((PhaseCost("fade", 9, 90.0),))
    acted(PhaseStart("data", 0), planned, PhaseStart("fade", 9), *map(LogRow, rows))
    session = Session(SHORT, tmp_path)
    new = session.snapshot()
    assert (new.state, new.phase, new.step, new.rows, new.parts) == ("new", "", 0, (), ())
    assert new.eta_seconds is None and not new.stopping
    session.start()
    until(lambda: session.snapshot().step == 3)
    seen = session.snapshot()
    assert (seen.state, seen.phase, seen.steps, list(seen.rows)) == ("running", "fade", 9, rows)
    assert seen.eta_seconds >= 0 and [part.name for part in seen.parts] == ["fade"]
    assert seen.result is seen.error is seen.lambda_override is None
    session.override_lambda(0.25)
    assert session.snapshot().lambda_override == 0.25 == session.lambda_override
    session.release_lambda()
    assert session.lambda_override is None
    session.stop()
    over = session.snapshot()
    assert over.state == "stopped" and over.eta_seconds is None and over.rows == seen.rows


def test_a_hand_on_lambda_is_refused_with_the_reason(acted, tmp_path):
    acted(PhaseStart("fade", 9), LogRow({"step": 0, "lam": 1.0, "base_held": True}))
    session = Session(SHORT, tmp_path)
    with pytest.raises(RuntimeError, match="^nothing to hold: this run is new$"):
        session.override_lambda(0.5)
    session.start()
    until(lambda: session.snapshot().rows)
    assert session.has_base
    for lam in (0.0, 1.0):
        session.override_lambda(lam)
    with pytest.raises(ValueError, match="λ is 1.5"):
        session.override_lambda(1.5)
    session.stop()
    with pytest.raises(RuntimeError, match="^nothing to hold: this run is stopped$"):
        session.override_lambda(0.5)
    acted(PhaseStart("fade", 9), LogRow({"step": 0, "base_held": False}))
    without = Session(SHORT, tmp_path).start()
    until(lambda: without.snapshot().rows)
    assert not without.has_base
    with pytest.raises(RuntimeError, match="the base was dropped when λ reached 0: there is noth"):
        without.override_lambda(0.5)
    without.stop()
    acted(PhaseStart("fade", 9), LogRow({"step": 0}))
    full = Session(dataclasses.replace(SHORT, method=METHODS["full"].Config()), tmp_path).start()
    until(lambda: full.snapshot().rows)
    assert full.has_base  # as far as the history tells
    with pytest.raises(RuntimeError, match="has no λ to hold: only methods that fade have one"):
        full.override_lambda(0.5)


@pytest.mark.parametrize("reset", [False, True])
def test_lambda_is_given_back_with_fresh_moments_if_they_are_asked_for(acted, tmp_path, reset):
    opened = acted(PhaseStart("fade", 9))
    session = Session(SHORT, tmp_path).start()
    session.override_lambda(0.5)
    hand = opened[0]["lambda_override"]
    assert hand.at(1) == 0.5
    session.release_lambda(**({"reset_moments": True} if reset else {}))
    assert hand.at(2) is None and hand.made[-1] == (2, "reset" if reset else None)


def test_a_device_is_held_by_one_run_and_free_after_it(acted, tmp_path):
    opened = acted(PhaseStart("fade", 9))
    first = Session(SHORT, tmp_path).start()
    assert live_session() is first is live_session(tmp_path)
    second = Session(SHORT, tmp_path)
    with pytest.raises(RuntimeError, match="run1 is running on cpu, and a device takes one run"):
        second.start()
    assert second.state == "new" and len(opened) == 1
    assert second.start(replace=True).state == "running" and first.state == "stopped"
    with pytest.raises(RuntimeError, match="this run is running and can't be started again: make"):
        second.start()
    second.stop()
    until(lambda: not session_module._holders)
    assert live_session() is None
    Session(SHORT, tmp_path).start(replace=True)  # of nobody
    stop_all()
    assert live_session() is None


def test_a_session_that_begins_is_told_to_whoever_watches(acted, tmp_path):
    seen = []

    class Watcher:
        def run_started(self, run):
            seen.append((run, run.state))

    watcher = Watcher()
    watch_runs(watcher)
    acted(PhaseStart("fade", 9))
    session = Session(SHORT, tmp_path).start()
    unwatch_runs(watcher)
    assert seen == [(session, "running")]


def test_a_model_is_exported_once_there_is_one(acted, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(session_module, "save_pretrained", lambda *a: saved.append(a) or a[1])
    acted(PhaseStart("fade", 9))
    session = Session(SHORT, tmp_path).start()
    with pytest.raises(RuntimeError, match="this run is running, and the compressed model exists"):
        session.export(tmp_path)
    session.stop()
    acted(END, holds=False)
    session = Session(SHORT, tmp_path).start()
    session.wait(10)
    assert session.export("there") == "there" and saved == [(END.model, "there")]


def test_all_sessions_of_a_process_are_stopped_at_its_end(monkeypatch):
    calls = []

    def going(name, is_live=True):
        stop = lambda wait=True: calls.append((name, wait))  # noqa: E731
        return SimpleNamespace(is_live=is_live, stop=stop)

    sessions = {"cpu": going("a"), "cuda:0": going("b"), "cuda:1": going("c", is_live=False)}
    monkeypatch.setattr(session_module, "_holders", sessions)
    stop_all()
    # All are asked first, and then waited for.
    assert calls == [("a", False), ("b", False), ("a", True), ("b", True)]
