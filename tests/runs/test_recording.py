"""What is written down when: of a stop the last step, of an interrupt none, of a result all."""

import os
import threading
from contextlib import closing

import pytest
import torch
from torch import nn

from pclora_lab.json_files import read_json
from pclora_lab.runs import recorder
from pclora_lab.runs.checkpoints import has_checkpoint, load_checkpoint, save_checkpoint
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.runs.snapshots import list_snapshots, load_snapshot
from pclora_lab.training.config import RunConfig, read_config
from pclora_lab.training.events import (
    AdapterSnapshot,
    LogRow,
    PhaseStart,
    Resolved,
    RunEnd,
    StepEnd,
)
from pclora_lab.training.optimizer import LossDiverged
from pclora_lab.training.state import Checkpoint


def kept(step):
    return Checkpoint(step, "", (), False, 0, 1.0, 0.0, {"trained/A": torch.ones(1)})


def step(number):
    return StepEnd("fade", number, 9, lambda: kept(number))


@pytest.fixture
def folder(tmp_path):
    return new_run_folder(tmp_path / "runs", RunConfig(), name="run")


@pytest.fixture
def saved(monkeypatch):
    """Models are not written, but for a file of five bytes and one of three."""

    def save(model, folder):
        folder.mkdir()
        (folder / "config.json").write_text("12345")
        (folder / "model.safetensors").write_text("123")
        return folder

    monkeypatch.setattr(recorder, "save_pretrained", save)


def end(**result):
    return RunEnd({"accuracy": 0.5, **result}, nn.Linear(2, 2), nn.Linear(2, 2))


def failing(error):
    yield PhaseStart("fade", 9)
    yield step(3)
    raise error


def test_a_stop_leaves_a_checkpoint_of_the_step_it_came_after(folder):
    with closing(RunRecorder(folder).record(iter([step(1), step(2), step(3)]))) as events:
        next(events), next(events)
    assert load_checkpoint(folder).step == 2 and load_run(folder).status == "stopped"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), "stopped", None),
        (RuntimeError("no memory"), "failed", "RuntimeError: no memory"),
        (OSError(28, "full"), "failed", "OSError: no space is left on the disk: make room"),
    ],
)
def test_an_interrupt_or_an_error_leaves_the_checkpoint_of_before(folder, error, status, message):
    """It may have come in the middle of a step: the model is not whole any more."""
    save_checkpoint(folder, kept(1))
    with pytest.raises(type(error)):
        list(RunRecorder(folder).record(failing(error)))
    assert load_checkpoint(folder).step == 1
    found = read_json(folder / "status.json")
    assert (found["status"], found["error"]) == (status, message)


def test_a_loss_that_diverged_leaves_no_checkpoint_as_it_would_only_diverge_again(folder):
    save_checkpoint(folder, kept(1))
    with pytest.raises(LossDiverged):
        list(RunRecorder(folder).record(failing(LossDiverged("not finite"))))
    assert not has_checkpoint(folder)
    assert read_json(folder / "status.json")["error"] == "LossDiverged: not finite"


def test_before_the_student_is_taken_apart_a_checkpoint_is_written(folder):
    seen = []
    for event in RunRecorder(folder).record(
        iter([PhaseStart("fade", 9), step(9), PhaseStart("test", 0)])
    ):
        seen.append((getattr(event, "name", "step"), has_checkpoint(folder)))
    assert seen == [("fade", False), ("step", False), ("test", True)]
    assert load_checkpoint(folder).step == 9


def test_an_end_is_written_whole_and_then_the_checkpoint_goes(folder, saved, monkeypatch):
    save_checkpoint(folder, kept(1))
    (folder / "compressed").mkdir()
    (folder / "compressed" / "of_before").write_text("")
    monkeypatch.chdir(folder.parent.parent)
    told = end()
    events = RunRecorder(folder).record(iter([told]))
    assert next(events) is told
    assert told.result == {"accuracy": 0.5, "run_dir": "runs/run", "bytes_on_disk": 8}
    written = read_json(folder / "result.json")
    assert written == {**told.result, "run_dir": "run"}  # where it is, is nothing to share
    assert {p.name for p in (folder / "compressed").iterdir()} == {
        "config.json", "model.safetensors",
    }  # fmt: skip
    assert read_json(folder / "status.json")["status"] == "finished" and not has_checkpoint(folder)
    events.close()
    assert read_json(folder / "status.json")["status"] == "finished"


def test_what_goes_wrong_after_the_result_does_not_take_it_back(folder, saved):
    def events():
        yield end()
        raise RuntimeError("too late")

    with pytest.raises(RuntimeError, match="too late"):
        list(RunRecorder(folder).record(events()))
    assert read_json(folder / "status.json")["status"] == "finished"


def test_a_result_that_can_not_be_written_is_not_finished_and_says_what_to_do(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "full")

    save_checkpoint(folder, kept(9))
    monkeypatch.setattr(recorder, "save_pretrained", full)
    monkeypatch.chdir(folder.parent)
    words = r"the result of run can't be written .*make room\). Then `pclora-lab resume run` writes"
    with pytest.raises(OSError, match=words):
        list(RunRecorder(folder).record(iter([end()])))
    assert read_json(folder / "status.json")["status"] == "failed"
    assert load_checkpoint(folder).step == 9 and not (folder / "result.json").exists()


def test_settings_and_snapshots_are_written_as_they_are_told(folder):
    config = RunConfig(steps=7, precision="float32")
    snapshot = AdapterSnapshot(4, 0.25, {"fc.A": torch.ones(2)})
    list(RunRecorder(folder).record(iter([Resolved(config), snapshot])))
    assert read_config(folder) == config
    ((number, path),) = list_snapshots(folder).items()
    found = load_snapshot(path)
    assert number == 4 and float(found.pop("lam")) == 0.25 and found.keys() == {"fc.A"}


def test_a_row_that_waits_is_written_at_the_next_event_whatever_it_is(folder, monkeypatch):
    write, fails = os.write, [True]

    def once(file, data):
        if fails:
            fails.clear()
            raise OSError(28, "full")
        return write(file, data)

    monkeypatch.setattr("pclora_lab.runs.durable.history.os.write", once)
    events = RunRecorder(folder).record(iter([LogRow({"step": 1}), PhaseStart("test", 0)]))
    with pytest.warns(UserWarning, match="a row of the history of run can't be written .no space"):
        next(events)
    assert load_run(folder).rows == []
    next(events)
    assert load_run(folder).rows == [{"step": 1}]
    events.close()


def test_whatever_ends_a_run_its_events_are_closed_and_others_may_write(folder):
    closed = []

    def events():
        try:
            yield step(1)
            yield step(2)
        finally:
            closed.append(True)

    running = RunRecorder(folder).record(events())
    next(running)
    with pytest.raises(RuntimeError, match="^run is being trained by process .*: wait for it, or"):
        next(RunRecorder(folder).record(iter([step(1)])))
    running.close()
    assert closed == [True]
    list(RunRecorder(folder).record(iter([step(1)])))


def test_a_lock_that_is_held_is_not_asked_for_again(folder):
    held = RunRecorder(folder)
    held.hold()
    held.hold()
    list(held.record(iter([step(1)])))
    again = RunRecorder(folder)
    again.hold()
    again.release()


def test_it_is_known_which_thread_writes_until_the_run_is_over(folder):
    events = RunRecorder(folder).record(iter([step(1)]))
    next(events)
    key = os.path.realpath(folder)
    assert recorder._recorded[key] is threading.current_thread()
    events.close()
    assert key not in recorder._recorded


def test_a_folder_is_the_same_wherever_the_process_goes_and_whatever_leads_to_it(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    made = RunRecorder(tmp_path / "link")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    list(made.record(iter([LogRow({"step": 1})])))
    assert load_run(folder).rows == [{"step": 1}] and made.folder == folder.resolve()
