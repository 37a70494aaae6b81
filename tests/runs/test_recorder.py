"""The run folder: its status follows how the run ends, and what was killed stays readable."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from pclora_lab.json_files import write_json
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.pclora.model import get_pclora_model, set_progress
from pclora_lab.methods.pclora.removal import compress
from pclora_lab.models.loading import load_model
from pclora_lab.models.serialization import load_compressed
from pclora_lab.runs.durable.reopening import reopen
from pclora_lab.runs.folder import delete_run, new_run_folder, run_name
from pclora_lab.runs.reader import list_runs, load_run
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.runs.snapshots import save_snapshot
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, PhaseStart, RunEnd, StepEnd


@pytest.fixture
def folder(tmp_path):
    """A new run folder."""
    return new_run_folder(tmp_path / "runs", RunConfig(seed=7))


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """A compressed model."""
    student = get_pclora_model(load_model("vit_digits"), PCLoRAConfig(rank=2))
    set_progress(student, 1.0)
    return compress(student)


def run_events(small, error=None):
    """What a short run tells."""
    yield PhaseStart("fade", 2)
    for step in (1, 2):
        yield StepEnd("fade", step, 2)
        yield LogRow({"phase": "fade", "step": step, "lam": 1 - step / 2, "accuracy": None})
    if error is not None:
        raise error
    yield RunEnd({"accuracy": 0.5}, small, small)


def test_a_new_folder_says_what_was_asked_for_and_with_what(folder):
    run = load_run(folder)
    assert RunConfig.from_dict(run.config) == RunConfig(seed=7)
    assert (run.status, run.error, run.rows, run.result) == ("running", None, [], None)
    versions = json.loads((folder / "versions.json").read_text())
    assert torch.__version__.startswith(versions["torch"])


def test_a_run_that_ends_is_finished_with_rows_result_and_model(folder, small):
    events = list(RunRecorder(folder).record(run_events(small)))
    assert [type(event).__name__ for event in events] == (
        "PhaseStart StepEnd LogRow StepEnd LogRow RunEnd".split()
    )
    run = load_run(folder)
    assert run.status == "finished" and run.error is None
    assert [row["lam"] for row in run.rows] == [0.5, 0.0]
    assert run.rows[0]["accuracy"] is None and run.result["accuracy"] == 0.5
    assert run.history()["step"].tolist() == [1, 2]
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(load_compressed(folder / "compressed")(x), small(x))


@pytest.mark.parametrize("taken", [1, 3, 5])
def test_a_run_that_is_closed_is_stopped_and_keeps_its_rows(folder, small, taken):
    events = RunRecorder(folder).record(run_events(small))
    rows = [
        event for _, event in zip(range(taken), events, strict=False) if isinstance(event, LogRow)
    ]
    events.close()
    run = load_run(folder)
    assert (run.status, run.error, run.result) == ("stopped", None, None)
    assert run.rows == [row.values for row in rows]


def test_a_run_that_raises_is_failed_and_the_error_goes_on(folder, small):
    with pytest.raises(RuntimeError, match="step 3"):
        list(RunRecorder(folder).record(run_events(small, RuntimeError("not finite at step 3"))))
    run = load_run(folder)
    assert (run.status, run.error) == ("failed", "RuntimeError: not finite at step 3")
    assert len(run.rows) == 2


def test_an_interrupt_stops_the_run(folder, small):
    with pytest.raises(KeyboardInterrupt):
        list(RunRecorder(folder).record(run_events(small, KeyboardInterrupt())))
    assert load_run(folder).status == "stopped"


def test_a_run_is_finished_for_whoever_stops_reading_at_its_result(folder, small):
    for event in RunRecorder(folder).record(run_events(small)):
        if isinstance(event, RunEnd):
            break
    del event
    assert load_run(folder).status == "finished"


def test_rows_can_be_read_while_the_run_goes_on(folder, small):
    events = RunRecorder(folder).record(run_events(small))
    while not isinstance(next(events), LogRow):
        pass
    assert len(load_run(folder).rows) == 1 and load_run(folder).status == "running"
    events.close()


@pytest.mark.parametrize("half", ['{"step": 3, "lam"', '{"step": 3', "{", '{"a": "\\u'])
def test_a_last_line_that_is_half_written_is_left_out(folder, half):
    (folder / "history.jsonl").write_text('{"step": 1}\n{"step": 2}\n' + half)
    assert load_run(folder).rows == [{"step": 1}, {"step": 2}]


def test_a_running_run_whose_process_is_gone_has_failed(folder):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_json(folder / "status.json", {"status": "running", "error": None, "pid": gone.pid})
    run = load_run(folder)
    assert run.status == "failed" and "killed" in run.error
    write_json(folder / "status.json", {"status": "running", "error": None, "pid": os.getpid()})
    assert load_run(folder).status == "running"


def test_a_folder_killed_before_its_first_status_can_be_read(folder):
    (folder / "status.json").unlink()
    assert load_run(folder).status == "failed"


def test_a_taken_name_gets_a_number(tmp_path):
    names = [new_run_folder(tmp_path, RunConfig()).name for _ in range(3)]
    assert names == [run_name(RunConfig()) + end for end in ("", "-2", "-3")]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"model": "local-dir:/some/where/deit"}, "deit-digits-r16-sine-zeros-s0"),
        ({"data": "../x/cifar10", "seed": 3}, "vit_digits-cifar10-r16-sine-zeros-s3"),
        ({"method": PCLoRAConfig(rank="25%")}, "vit_digits-digits-r25pct-sine-zeros-s0"),
        (
            {"method": PCLoRAConfig(schedule=[(0, 1), (1, 0)], init="svd")},
            "vit_digits-digits-r16-drawn-svd-s0",
        ),
        ({"model": "hf-hub:a/b c*d"}, "b_c_d-digits-r16-sine-zeros-s0"),
    ],
)
def test_a_name_tells_the_main_settings_and_stays_one_folder(values, name):
    assert run_name(RunConfig(**{"method": PCLoRAConfig(), **values})) == name


def test_runs_are_listed_newest_first(tmp_path):
    folders = [new_run_folder(tmp_path, RunConfig(seed=seed)) for seed in (0, 1, 2)]
    (tmp_path / "teachers" / "0123").mkdir(parents=True)
    for age, run in enumerate(folders):
        os.utime(run / "status.json", (1000 - age, 1000 - age))
    assert [run.folder for run in list_runs(tmp_path)] == folders
    assert list_runs(tmp_path / "nothing") == []


def test_a_run_is_deleted(folder):
    delete_run(folder)
    assert not folder.exists()


@pytest.mark.parametrize("kind", ["empty", "model", "compressed"])
def test_a_folder_that_is_no_run_is_not_deleted(tmp_path, small, kind):
    place = tmp_path / kind
    place.mkdir()
    if kind != "empty":
        (place / "config.json").write_text('{"architecture": "deit_tiny_patch16_224"}')
        (place / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(FileNotFoundError, match="no run in"):
        delete_run(place)
    assert place.is_dir()


def test_json_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "status.json"
    write_json(path, {"status": "é"})
    with path.open(encoding="utf8") as reader:
        write_json(path, {"status": "new"})
        assert json.load(reader) == {"status": "é"}, "who reads sees the old file whole"
    assert json.loads(path.read_text()) == {"status": "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_links_in_a_folder_that_others_write_to_lead_nowhere(tmp_path, small):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("000001.safetensors", "half.part", "config.json"):
        (theirs / name).write_text("mine")
    folder = new_run_folder(tmp_path / "runs", RunConfig(steps=1))
    for name in ("snapshots", "compressed", "reports.part"):
        (folder / name).symlink_to(theirs)
    reopen(folder, [], 0)
    with pytest.raises(OSError, match="snapshots is a link"):
        save_snapshot(folder, 1, {"x": torch.ones(1)})
    list(RunRecorder(folder).record(iter([RunEnd({}, small, small)])))
    assert (folder / "compressed").is_dir() and not (folder / "compressed").is_symlink()
    (tmp_path / "runs" / "linked").symlink_to(folder)
    delete_run(tmp_path / "runs" / "linked")
    assert (folder / "result.json").is_file()
    assert [file.read_text() for file in theirs.iterdir()] == ["mine"] * 3


def test_a_folder_that_was_let_go_of_may_be_somebody_elses(folder):
    first, second = RunRecorder(folder), RunRecorder(folder)
    first.hold()
    with pytest.raises(RuntimeError, match="is being trained by"):
        second.hold()
    first.release()
    second.hold()
    with pytest.raises(RuntimeError, match="is being trained by"):
        first.hold()
    second.release()
