"""What is read of a run before it is taken up, and when it is refused; nothing is trained here."""

import dataclasses
import json
import time
from pathlib import Path

import pytest
import torch
from made_runs import being_written

from pclora_lab.json_files import read_json, write_json
from pclora_lab.locks import FolderLock
from pclora_lab.machine import this_process
from pclora_lab.runs import resuming
from pclora_lab.runs.checkpoints import has_checkpoint, load_checkpoint, save_checkpoint
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.resuming import can_resume, read_resumption, resume
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import PhaseStart, StepEnd
from pclora_lab.training.state import Checkpoint

CONFIG = RunConfig(steps=9, device="cpu", overrides=((2, 0.5), (7, None)))
ROWS = [
    {"phase": "teacher", "step": 50},
    {"phase": "fade", "step": 2, "overrides": [[2, 0.5]]},
    {"phase": "fade", "step": 4},
    {"phase": "fade"},
    {"phase": "fade", "step": 5, "overrides": [[5, 0.25]]},
]


def kept(step=4, overrides=CONFIG.overrides):
    return Checkpoint(step, "", overrides, False, 1, 1.0, 0.0, {"trained/A": torch.ones(1)})


@pytest.fixture
def folder(tmp_path):
    """A run that was stopped before its first checkpoint."""
    folder = new_run_folder(tmp_path / "runs", CONFIG, name="run")
    stopped(folder)
    return folder


def stopped(folder, error=None):
    status = "stopped" if error is None else "failed"
    write_json(folder / "status.json", {"status": status, "error": error})


def with_rows(folder, rows=ROWS):
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


# Whether it can be


def test_a_run_that_ended_early_can_be_taken_up(folder):
    assert can_resume(folder) and can_resume(str(folder))
    stopped(folder, "RuntimeError: no memory")
    assert can_resume(folder)
    (folder / "status.json").write_text("{ cut")
    assert can_resume(folder)


@pytest.mark.parametrize("kind", ["LossDiverged", "ValueError", "FieldError", "DataError"])
def test_what_would_fail_again_can_be_where_there_is_something_to_go_on_from(folder, kind):
    stopped(folder, f"{kind}: as the settings are")
    assert not can_resume(folder)
    save_checkpoint(folder, kept())
    assert can_resume(folder)


def test_nothing_is_left_of_a_run_with_a_result_or_known_of_one_without_settings(folder):
    (folder / "result.json").write_text("{}")
    assert not can_resume(folder)
    (folder / "result.json").unlink()
    (folder / "config.json").unlink()
    assert not can_resume(folder)


def test_a_run_that_is_being_written_is_left_alone(folder):
    write_json(folder / "result.json", {"accuracy": 0.5})
    save_checkpoint(folder, kept())
    (folder / "x.0a.part").write_text("half")
    with being_written(folder):
        status = {"status": "running", "error": None, "time": time.time(), **this_process()}
        write_json(folder / "status.json", status)
        with pytest.raises(RuntimeError):
            resume(folder)
        assert has_checkpoint(folder) and (folder / "x.0a.part").exists()
        (folder / "result.json").unlink()
        assert not can_resume(folder)
        with pytest.raises(RuntimeError, match="^run is being trained: wait for it, or stop it"):
            read_resumption(folder)


def test_of_a_run_that_was_killed_after_its_result_the_leftovers_go(folder):
    write_json(folder / "result.json", {"accuracy": 0.5})
    (folder / "x.0a.part").write_text("half")
    with pytest.raises(RuntimeError, match="^run has finished: nothing is left to train$"):
        resume(folder)
    assert read_json(folder / "status.json")["status"] == "stopped"  # it had no checkpoint
    save_checkpoint(folder, kept())
    with pytest.raises(RuntimeError, match="has finished"):
        resume(folder)
    assert not has_checkpoint(folder) and not list(folder.glob("*.part"))
    assert read_json(folder / "status.json")["status"] == "finished"


# What is read


def test_rows_up_to_the_checkpoint_stay_and_moves_after_it_are_made_again(folder):
    save_checkpoint(with_rows(folder), kept())
    found = read_resumption(folder)
    assert found.folder == folder and found.config == CONFIG and found.checkpoint.step == 4
    assert list(found.rows) == ROWS[:4]
    hand = found.lambda_override
    assert hand.lam == 0.5 and hand.made == ((2, 0.5),)
    assert hand.take() == []  # it stands in the history
    assert hand.made_and_planned(4) == ((2, 0.5), (5, 0.25), (7, None))


def test_without_a_checkpoint_it_begins_again_with_the_moves_that_were_made(folder):
    found = read_resumption(with_rows(folder))
    assert found.checkpoint is None and found.rows == ()
    assert found.lambda_override.made_and_planned(0) == ((2, 0.5), (5, 0.25), (7, None))
    assert found.lambda_override.made == ()


@pytest.mark.parametrize("step", [1, 9])
def test_a_checkpoint_of_any_step_of_the_run_is_gone_on_from(folder, step):
    save_checkpoint(folder, kept(step))
    assert read_resumption(folder).checkpoint.step == step


@pytest.mark.parametrize("step", [0, 10])
def test_a_checkpoint_of_no_step_of_the_run_is_refused(folder, step):
    save_checkpoint(folder, kept(step))
    with pytest.raises(ValueError, match=f"run is of step {step}, but its config has 9 steps: one"):
        read_resumption(folder)


def test_a_relative_folder_is_told_whole(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert read_resumption("run").folder == folder


@pytest.mark.parametrize("change", [{"quantum": 1}, {"steps": "many"}, {"overrides": 3}])
def test_settings_that_can_not_be_read_are_named_with_the_run(folder, change):
    write_json(folder / "config.json", {**read_json(folder / "config.json"), **change})
    with pytest.raises(ValueError, match=f"^run can't be taken up: .*{next(iter(change))}"):
        read_resumption(folder)


# How it goes on


@pytest.fixture
def trained(monkeypatch):
    """How the training was asked for; it makes two steps."""
    asked = []

    def train(config, home, **more):
        asked.append({"config": config, "home": home, **more})
        yield PhaseStart("data", 0)
        yield PhaseStart("fade", 9)
        yield StepEnd("fade", 5, 9)

    monkeypatch.setattr(resuming, "train", train)
    return asked


@pytest.mark.parametrize("allow_changes", [False, True])
def test_the_rest_is_trained_with_what_was_kept(folder, trained, allow_changes):
    save_checkpoint(with_rows(folder), kept())
    cache, told = object(), []

    class Logger:
        def log(self, event):
            told.append(event)

        def close(self):
            told.append("closed")

    more = {"allow_changes": True} if allow_changes else {}
    run = resume(folder, cache=cache, loggers=[Logger()], **more)
    assert trained == [] and run.folder == folder
    events = list(run)
    (asked,) = trained
    assert asked["config"] == CONFIG and asked["home"] == folder.parent
    assert asked["cache"] is cache and asked["checkpoint"].step == 4
    assert asked["lambda_override"].lam == 0.5 and asked["allow_changes"] is allow_changes
    assert told == [*events, "closed"]
    assert list(load_run(folder).rows) == ROWS[:4]
    # The line that told of a later move is cut off, so the checkpoint knows it now.
    assert load_checkpoint(folder).overrides == ((2, 0.5), (5, 0.25), (7, None))


def test_a_checkpoint_that_knows_all_moves_is_not_written_again(folder, trained):
    save_checkpoint(with_rows(folder, ROWS[:4]), kept())
    before = (folder / "checkpoint.safetensors").stat().st_ino
    list(read_resumption(folder).events())
    assert (folder / "checkpoint.safetensors").stat().st_ino == before
    assert trained[0]["allow_changes"] is False and trained[0]["cache"] is None


def test_without_a_checkpoint_the_folder_is_emptied_of_its_history(folder, trained):
    list(resume(with_rows(folder)))
    assert trained[0]["checkpoint"] is None and load_run(folder).rows == []


def test_a_run_that_has_gone_on_since_it_was_read_is_not_taken_up(folder, trained):
    save_checkpoint(folder, kept())
    found = read_resumption(folder)
    with_rows(folder)
    with pytest.raises(RuntimeError, match="^run has gone on meanwhile: look at it again before"):
        found.events()
    lock = FolderLock(folder)
    assert lock.acquire()  # and is not kept from others
    lock.release()


def test_a_device_that_is_not_here_is_named_with_the_way_to_change_it(folder, trained):
    found = read_resumption(folder)
    elsewhere = dataclasses.replace(found, config=dataclasses.replace(CONFIG, device="cuda:77"))
    words = """^run can't be taken up: device 'cuda:77' .* as "device" in its config.json"""
    with pytest.raises(ValueError, match=f"{words}; .*--allow-changes .allow_changes=True"):
        elsewhere.events()


def test_a_resumption_stays_as_it_was_read(folder):
    with pytest.raises(dataclasses.FrozenInstanceError):
        read_resumption(folder).folder = Path("elsewhere")
