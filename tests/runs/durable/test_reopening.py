"""The folder of a run that is taken up is as it was, until nothing can refuse it any more."""

import json
import os

import pytest
import torch

from pclora_lab.json_files import read_json, write_json
from pclora_lab.runs.checkpoints import load_checkpoint
from pclora_lab.runs.durable import reopening as module
from pclora_lab.runs.durable.reopening import (
    Reopening,
    refuse_forked,
    remove_half_written,
    reopen,
)
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.snapshots import list_snapshots, save_snapshot
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import PhaseStart, StepEnd
from pclora_lab.training.state import Checkpoint

ROWS = [{"phase": "fade", "step": 0, "loss": float("nan")}, {"phase": "fade", "step": 2}]
CHECKPOINT = Checkpoint(2, "", (), False, 1, 1.0, 0.0, {"trained/A": torch.ones(1)})
BEGIN = [PhaseStart(name, 0) for name in ("data", "teacher", "start", "fade")]
STEP = StepEnd("fade", 3, 9)


@pytest.fixture
def folder(tmp_path):
    """Of a run that failed."""
    folder = new_run_folder(tmp_path, RunConfig(), name="run")
    write_json(folder / "status.json", {"status": "failed", "error": "before"})
    os.utime(folder / "status.json", (1000, 1000))
    (folder / "history.jsonl").write_text('{"step": 9}\n')
    return folder


def contents(folder):
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file()
    }


def passed(generator):
    """What it passes on, and what it leaves."""
    events = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as end:
            return events, list(end.value)


# When


def test_a_run_with_a_checkpoint_is_opened_once_its_student_was_put_back(folder):
    reopening = Reopening(folder, ROWS, 2, CHECKPOINT)
    events = reopening.events(iter([*BEGIN, STEP, PhaseStart("test", 0)]))
    before = contents(folder)
    assert next(events).name == "data" and contents(folder) == before
    for event in BEGIN[1:]:
        assert next(events) is event
        # What comes may take long; all but the status is as it was.
        assert read_json(folder / "status.json")["status"] == "running"
        now = contents(folder)
        assert {**now, "status.json": None} == {**before, "status.json": None}
    _, left = passed(events)
    assert left == [STEP, PhaseStart("test", 0)]
    assert load_checkpoint(folder).step == 2
    assert (folder / "history.jsonl").read_text().count("\n") == 2
    assert reopening._checkpoint is None  # its tensors should not live as long as the run


def test_without_a_checkpoint_it_is_opened_once_data_and_model_were_read(folder):
    save_snapshot(folder, 0, {"x": torch.ones(1)})
    given, left = passed(Reopening(folder, (), None).events(iter([*BEGIN, STEP])))
    assert given == BEGIN[:1] and left == [*BEGIN[1:], STEP]
    assert (folder / "history.jsonl").read_text() == "" and list_snapshots(folder) == {}
    assert read_json(folder / "status.json")["status"] == "running"


def test_a_run_that_ends_before_leaves_nothing_to_write(folder):
    given, left = passed(Reopening(folder, ROWS, 2).events(iter(BEGIN[:1])))
    assert given == BEGIN[:1] and left == []
    assert (folder / "history.jsonl").read_text() == '{"step": 9}\n'


@pytest.mark.parametrize("count", range(5))
def test_a_run_that_is_refused_or_stopped_before_is_as_it_was(folder, count):
    def refused():
        yield from BEGIN[:count]
        raise ValueError("the data changed")

    before = contents(folder)
    if count < 4:
        with pytest.raises(ValueError, match="the data changed"):
            passed(Reopening(folder, ROWS, 2, CHECKPOINT).events(refused()))
        assert contents(folder) == before
    if count:
        events = Reopening(folder, ROWS, 2, CHECKPOINT).events(iter([*BEGIN, STEP]))
        for _ in range(count):
            next(events)
        events.close()
        assert contents(folder) == before


def test_a_run_without_a_status_has_none_again(folder):
    (folder / "status.json").unlink()
    events = Reopening(folder, ROWS, 2).events(iter(BEGIN))
    next(events), next(events)
    assert (folder / "status.json").is_file()
    events.close()
    assert not (folder / "status.json").exists()


def test_what_went_wrong_is_told_also_where_the_status_can_not_be_put_back(folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    def refused():
        yield from BEGIN[:2]
        monkeypatch.setattr(module, "atomic_write", full)
        raise ValueError("the data changed")

    with pytest.raises(ValueError, match="the data changed"):
        passed(Reopening(folder, ROWS, 2).events(refused()))


def test_a_forked_child_changes_nothing(folder):
    events = Reopening(folder, ROWS, 2).events(iter(BEGIN))
    next(events), next(events)
    status = (folder / "status.json").read_bytes()
    child = os.fork()
    if child == 0:
        try:
            next(events)
        except RuntimeError as error:
            os._exit(0 if "its forked child can't go on with it" in str(error) else 2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (folder / "status.json").read_bytes() == status
    events.close()


def test_the_run_of_another_process_is_not_this_ones(folder):
    refuse_forked(folder, os.getpid())
    with pytest.raises(RuntimeError, match="^run is trained by process 1; its forked child can't"):
        refuse_forked(folder, 1)


# What is written


def test_later_snapshots_go_and_the_history_is_what_stays(folder):
    for step in (0, 2, 3, 4):
        save_snapshot(folder, step, {"x": torch.ones(1)})
    reopen(folder, ROWS, 2)
    assert list(list_snapshots(folder)) == [0, 2]
    lines = (folder / "history.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows == [{"phase": "fade", "step": 0, "loss": None}, ROWS[1]]
    assert read_json(folder / "status.json")["status"] == "running"


def test_versions_are_those_that_the_run_began_with(folder):
    before = (folder / "versions.json").read_bytes()
    reopen(folder, [], 0)
    assert (folder / "versions.json").read_bytes() == before
    (folder / "versions.json").unlink()
    reopen(folder, [], 0)
    assert read_json(folder / "versions.json")["torch"]


def test_nothing_is_removed_through_a_link(folder, tmp_path):
    theirs = tmp_path / "theirs" / "snapshots"
    save_snapshot(theirs.parent, 5, {"x": torch.ones(1)})
    (theirs / "half.part").write_text("mine")
    (folder / "snapshots").symlink_to(theirs)
    reopen(folder, [], 0)
    assert {path.name for path in theirs.iterdir()} == {"000005.safetensors", "half.part"}


def test_what_is_half_written_goes_files_and_folders_and_nothing_else(folder):
    save_snapshot(folder, 1, {"x": torch.ones(1)})
    for inner in (folder, folder / "snapshots"):
        (inner / "a.0b.part").write_text("half")
        (inner / "b.0b.part").mkdir()
        (inner / "b.0b.part" / "x").write_text("half")
    kept = {path for path in folder.rglob("*") if ".part" not in str(path)}
    remove_half_written(folder)
    assert set(folder.rglob("*")) == kept


def test_a_folder_without_snapshots_can_be_opened(folder):
    remove_half_written(folder)
    reopen(folder, ROWS, -1)
    assert not (folder / "snapshots").exists()
