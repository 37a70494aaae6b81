"""Which runs a forecast may rest on: finished, believed, and as they really went."""

import os

import pytest

from pclora_lab.json_files import read_json, write_json
from pclora_lab.machine import this_process
from pclora_lab.runs.estimates.finished import finished_runs, shipped_runs
from pclora_lab.training.config import RunConfig, write_config

RUN = RunConfig(steps=7)
RESULT = {"params_after": 5, "accuracy": 0.5}


def finished(root, name="one", age=1000, status=None, **numbers):
    folder = root / name
    folder.mkdir(parents=True)
    write_config(folder / "config.json", RUN)
    write_json(folder / "result.json", {**RESULT, **numbers})
    write_json(folder / "status.json", {"status": "finished", **(status or this_process())})
    os.utime(folder / "result.json", (age, age))
    return folder


def test_a_finished_run_is_told_by_its_settings_and_numbers(tmp_path):
    finished(tmp_path, latency_ms_before=6.0, latency_ms_after=2.0, seconds=9.0)
    (found,) = finished_runs(tmp_path)
    assert found.config == RUN and found.is_here and not found.is_shipped
    assert found.numbers == {**RESULT, "latency_ms_before": 6.0, "latency_ms_after": 2.0}


def test_what_was_not_measured_is_none_and_size_and_accuracy_must_be(tmp_path):
    folder = finished(tmp_path)
    (found,) = finished_runs(str(tmp_path))
    assert found.numbers == {**RESULT, "latency_ms_before": None, "latency_ms_after": None}
    for lacking in RESULT:
        write_json(folder / "result.json", {k: v for k, v in RESULT.items() if k != lacking})
        assert list(finished_runs(tmp_path)) == []
        write_json(folder / "result.json", {**RESULT, lacking: None})
        assert list(finished_runs(tmp_path)) == []


def test_they_come_oldest_first_by_their_results(tmp_path):
    for name, age in (("a", 3000), ("b", 1000), ("c", 2000)):
        finished(tmp_path, name, age, accuracy=age / 10_000)
    assert [run.numbers["accuracy"] for run in finished_runs(tmp_path)] == [0.1, 0.2, 0.3]


def test_a_run_of_another_machine_is_told_as_such(tmp_path):
    finished(tmp_path, status={"boot": "another"})
    (found,) = finished_runs(tmp_path)
    assert not found.is_here


def test_lambda_that_was_moved_by_hand_counts_among_the_settings(tmp_path):
    finished(tmp_path, overrides=[[2, 0.5]])
    (found,) = finished_runs(tmp_path)
    assert found.config.overrides == ((2, 0.5),)


def test_a_run_is_read_again_when_its_result_or_its_status_changes(tmp_path):
    folder = finished(tmp_path)
    assert len(list(finished_runs(tmp_path))) == 1
    write_json(folder / "status.json", {"status": "running"})
    assert list(finished_runs(tmp_path)) == []
    write_json(folder / "status.json", {"status": "finished"})
    write_json(folder / "result.json", {**RESULT, "accuracy": 0.75})
    assert [run.numbers["accuracy"] for run in finished_runs(tmp_path)] == [0.75]


def test_a_run_whose_status_is_gone_meanwhile_is_passed_over(tmp_path):
    (finished(tmp_path) / "status.json").unlink()
    assert list(finished_runs(tmp_path)) == []


@pytest.mark.parametrize("config", [{"steps": "many"}, {"quantum": 1}, {"method": 3}])
def test_settings_of_another_version_are_passed_over(tmp_path, config):
    folder = finished(tmp_path)
    write_json(folder / "config.json", {**read_json(folder / "config.json"), **config})
    assert list(finished_runs(tmp_path)) == []


def test_shipped_runs_were_made_elsewhere_and_are_read_once():
    runs = shipped_runs()
    assert runs and shipped_runs() is runs
    assert all(run.is_shipped and not run.is_here for run in runs)
    assert all(RESULT.keys() <= run.numbers.keys() for run in runs)
