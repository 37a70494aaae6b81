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
from pclora_lab.runs import session as session_module
from pclora_lab.runs.checkpoints import load_checkpoint
from pclora_lab.runs.session import live_session, stop_all
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import StepEnd
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
