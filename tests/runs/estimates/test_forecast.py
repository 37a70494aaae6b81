"""What is expected before a run: from the runs that come with the package, and from those here."""

import dataclasses
import json
import os

import pytest

from pclora_lab import RunConfig
from pclora_lab.files import data_dir
from pclora_lab.json_files import write_json
from pclora_lab.methods.lora import LoRAConfig
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.runs.estimates.accuracy import accuracy_estimate, expected_accuracy
from pclora_lab.runs.estimates.finished import finished_runs, shipped_runs
from pclora_lab.runs.estimates.speedup import expected_speedup
from pclora_lab.training.config import write_config

RUN = RunConfig()
RANK = RUN.method.rank


def finished(root, config, **numbers):
    folder = root / f"{config.seed}-{config.method.rank}"
    folder.mkdir(parents=True)
    write_config(folder / "config.json", config)
    write_json(folder / "result.json", {"params_after": 57_514, "accuracy": 0.5, **numbers})
    write_json(folder / "status.json", {"status": "finished"})
    return folder


def test_the_shipped_runs_are_those_of_the_presets_with_three_seeds():
    runs = shipped_runs()
    assert {run.config.model for run in runs} == {"vit_digits", "bert_glosses"}
    assert all(run.is_shipped and not run.is_here for run in runs)
    groups = {}
    for run in runs:
        key = (run.config.model, run.config.method.init, run.config.method.rank)
        groups.setdefault(key, []).append(run.config.seed)
    assert set(map(tuple, groups.values())) == {(0, 1, 2)} and len(groups) >= 10
    record = json.loads((data_dir("results") / "expected.json").read_text())
    assert len(runs) == len(record["runs"])


def test_the_first_visitor_is_told_what_to_expect_and_whence(tmp_path):
    found = expected_accuracy(tmp_path, RUN, 57_514)
    assert found.seeds == 3 and 0.96 < found.mean < 1 and 0 < found.std < 0.05
    assert found.note.endswith("(3 seeds), shipped with the package")
    assert accuracy_estimate(tmp_path, RUN, RANK) is None, "only who asks for them gets them"


def test_a_run_here_counts_instead_of_the_shipped_one_of_its_seed(tmp_path):
    params = accuracy_estimate(tmp_path, RUN, RANK, with_shipped=True).points
    params = next(point.params for point in params if point.rank == RANK)
    shipped = expected_accuracy(tmp_path, RUN, params).mean
    finished(tmp_path, RUN, params_after=params, accuracy=shipped - 0.3)
    found = expected_accuracy(tmp_path, RUN, params)
    assert found.seeds == 3 and shipped - 0.15 < found.mean < shipped - 0.05
    assert "shipped" not in found.note


def test_other_settings_have_no_shipped_runs(tmp_path):
    other = RunConfig(method=PCLoRAConfig(rank=8, init="svd"))
    assert expected_accuracy(tmp_path, other, 57_514) is None


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (RUN, 3.0),
        (RunConfig(steps=7, lr=1e-3, seed=4), 3.0),
        (RunConfig(model="bert_glosses", data="glosses"), None),
        (RunConfig(img_size=16), None),
    ],
)
def test_speed_is_that_of_a_run_of_the_same_model_and_size(tmp_path, other, expected):
    finished(tmp_path, RUN, latency_ms_before=6.0, latency_ms_after=2.0)
    assert expected_speedup(tmp_path, other, 57_514) == expected
    assert expected_speedup(tmp_path, other, 57_515) is None


def test_speed_of_another_machine_or_of_no_measurement_is_none(tmp_path):
    folder = finished(tmp_path, RUN)
    assert expected_speedup(tmp_path, RUN, 57_514) is None
    numbers = {"params_after": 57_514, "accuracy": 0.5, "latency_ms_before": 6.0}
    write_json(folder / "result.json", {**numbers, "latency_ms_after": 2.0})
    assert expected_speedup(tmp_path, RUN, 57_514) == 3.0
    write_json(folder / "status.json", {"status": "finished", "boot": "another"})
    assert expected_speedup(tmp_path, RUN, 57_514) is None


def test_speed_is_known_of_a_model_that_is_named_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    run = RunConfig(model=str(tmp_path / "mine"))
    finished(tmp_path / "runs", run, latency_ms_before=6.0, latency_ms_after=2.0)
    monkeypatch.chdir(tmp_path)
    assert expected_speedup("runs", RunConfig(model="./mine"), 57_514) == 3.0


def test_the_newest_run_that_was_measured_tells_the_speed(tmp_path):
    times = {"latency_ms_before": 6.0, "latency_ms_after": 2.0}
    first = finished(tmp_path, RUN, **times)
    second = finished(
        tmp_path, dataclasses.replace(RUN, seed=1), **{**times, "latency_ms_after": 3.0}
    )
    last = finished(tmp_path, dataclasses.replace(RUN, seed=2))
    for age, folder in enumerate((second, first, last)):
        os.utime(folder / "result.json", (1000 + age, 1000 + age))
    assert expected_speedup(tmp_path, RUN, 57_514) == 3.0, "the last one was not measured"
    os.utime(second / "result.json", (2000, 2000))
    assert expected_speedup(tmp_path, RUN, 57_514) == 2.0
    other = RunConfig(method=LoRAConfig(rank=RANK))
    assert expected_speedup(tmp_path, other, 57_514) is None, "of another method"


@pytest.mark.parametrize("lacking", ["status.json", "config.json", "result.json"])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_folder_that_is_no_finished_run_says_nothing(tmp_path, lacking, is_cut):
    (tmp_path / "whole").mkdir()
    finished(tmp_path / "whole", RUN)
    (found,) = finished_runs(tmp_path / "whole")
    assert found.is_here and not found.is_shipped and found.config == RUN
    folder = finished(tmp_path / "broken", RUN)
    (folder / lacking).unlink()
    if is_cut:
        (folder / lacking).write_text("{ cut")
    assert list(finished_runs(tmp_path / "broken")) == []


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_only_a_run_that_came_to_its_end_counts(tmp_path, status):
    folder = finished(tmp_path, RUN)
    write_json(folder / "status.json", {"status": status})
    assert list(finished_runs(tmp_path)) == []
