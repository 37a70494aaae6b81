"""What a run can do without ends no run; what is its result is kept until it can be written."""

import dataclasses
import os
import warnings
from contextlib import closing
from functools import partial

import pytest
import torch

from pclora_lab.cli import demo
from pclora_lab.cli.main import main
from pclora_lab.data.cache import DataCache
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.remarks import remark
from pclora_lab.runs import recorder
from pclora_lab.runs.checkpoints import has_checkpoint, load_checkpoint
from pclora_lab.runs.comparison import lr_search
from pclora_lab.runs.comparison.lr_search import LRSearch
from pclora_lab.runs.durable.places import settled
from pclora_lab.runs.execution import execute
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.runs.resuming import resume
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import AdapterSnapshot, LogRow, PhaseStart, StepEnd
from pclora_lab.training.measuring.layer_probe import LayerProbe

QUICK = RunConfig(
    method=PCLoRAConfig(rank=4, init="svd"), steps=3, evaluations=1, eval_images=16, batch_size=16,
    layer_metrics=False, device="cpu",
)  # fmt: skip
READ = DataCache()


def full(*args, **kwargs):
    raise OSError(28, "No space left on device")


@pytest.fixture
def folder(tmp_path):
    return new_run_folder(tmp_path, QUICK, name="run")


def test_a_snapshot_that_can_not_be_written_is_said_once(folder, monkeypatch):
    monkeypatch.setattr(recorder, "save_snapshot", full)
    events = [AdapterSnapshot(step, 0.5, {}) for step in range(3)]
    with pytest.warns(UserWarning, match="a snapshot of run can't be written .*goes on") as said:
        assert len(list(RunRecorder(folder).record(iter(events)))) == 3
    assert len(said) == 1 and load_run(folder).status == "finished"


def test_a_row_that_found_no_room_is_written_later(folder, monkeypatch):
    write, full_for = os.write, [2]

    def sometimes(file, data):
        if full_for[0]:
            full_for[0] -= 1
            full()
        return write(file, data[:7])  # and never all at once

    monkeypatch.setattr("pclora_lab.runs.durable.history.os.write", sometimes)
    events = [LogRow({"step": step}) for step in range(4)]
    with pytest.warns(UserWarning, match="a row of the history"):
        list(RunRecorder(folder).record(iter(events)))
    monkeypatch.undo()
    assert [row["step"] for row in load_run(folder).rows] == [0, 1, 2, 3]


def test_a_result_that_found_no_room_is_written_by_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "save_pretrained", full)
    run = execute(QUICK, tmp_path, cache=READ)
    with pytest.raises(OSError, match=r"make room\). Then `pclora-lab resume .* nothing"):
        list(run)
    assert (
        load_run(run.folder).status == "failed" and "no space is left" in load_run(run.folder).error
    )
    assert load_checkpoint(run.folder).step == QUICK.steps
    monkeypatch.undo()
    events = list(resume(run.folder, cache=READ))
    assert not any(isinstance(event, StepEnd) for event in events)
    assert load_run(run.folder).status == "finished" and not has_checkpoint(run.folder)
    assert [row["step"] for row in load_run(run.folder).rows] == [0, 1, 2, 3]


def test_the_first_error_is_the_one_that_is_told(folder, monkeypatch):
    def events():
        yield PhaseStart("data", 0)
        raise RuntimeError("the first")

    monkeypatch.setattr(recorder, "set_status", full)
    with pytest.raises(RuntimeError, match="the first"), pytest.warns(UserWarning, match="status"):
        list(RunRecorder(folder).record(events()))


def test_a_stop_on_a_full_disk_is_a_stop(folder, monkeypatch):
    monkeypatch.setattr(recorder, "set_status", full)
    with (
        pytest.warns(UserWarning, match="the status of run can't be written"),
        closing(RunRecorder(folder).record(iter([PhaseStart("data", 0)]))) as events,
    ):
        next(events)


def test_a_demo_without_room_for_its_report_has_its_result(tmp_path, monkeypatch, capfd):
    from pclora_lab.plots import report

    monkeypatch.setattr(report, "write_report", full)
    quick = partial(dataclasses.replace, QUICK)
    monkeypatch.setattr(demo, "RunConfig", quick)
    assert main(["demo", "--out", str(tmp_path), "--no-open"]) == 0
    shown = capfd.readouterr()
    assert "the report can't be written" in shown.err and "student, test accuracy" in shown.out


def test_paths_are_whole_so_that_a_run_is_taken_up_from_anywhere(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    config = settled(dataclasses.replace(QUICK, data="data", model="../model"))
    assert (config.data, config.model) == ("~/data", str(tmp_path / "model"))
    monkeypatch.chdir(tmp_path)
    assert settled(config) == config
    assert settled(dataclasses.replace(QUICK, data="nowhere")).data == "nowhere"


def test_a_comparison_goes_on_where_a_choice_can_not_be_kept(tmp_path, monkeypatch):
    search = LRSearch(tmp_path / "tuning", None)
    search.note({"method": "lora", "lr": 0.1, "validation_accuracy": 0.5, "error": None})
    monkeypatch.setattr(lr_search, "write_json", full)
    with pytest.warns(UserWarning, match="learning rate of lora can't be kept"):
        search.choose("lora")
    assert search.chosen == {"lora": 0.1}


def test_layers_that_there_is_no_memory_to_look_at_end_no_run(tmp_path, monkeypatch):
    def measure(self, *, distances):
        raise torch.OutOfMemoryError("2 GiB wanted")

    monkeypatch.setattr(LayerProbe, "measure", measure)
    run = execute(dataclasses.replace(QUICK, layer_metrics=True), tmp_path, cache=READ)
    with pytest.warns(UserWarning, match="layers are not looked at any more.*2 GiB") as said:
        *_, end = run
    assert len(said) == 1 and end.result["accuracy"] is not None


def test_a_remark_ends_nothing_where_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        remark("no room")
