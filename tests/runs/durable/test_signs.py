"""Whether a run goes on is told from a process here, and from its beats elsewhere."""

import os
import time

import pytest

from pclora_lab.json_files import read_json, write_json
from pclora_lab.machine import this_host, this_process
from pclora_lab.runs.durable import heartbeat, signs
from pclora_lab.runs.durable.signs import duration
from pclora_lab.runs.folder import delete_run, is_being_written, new_run_folder
from pclora_lab.runs.reader import load_run, scan_runs
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.runs.resuming import can_resume, read_resumption
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import PhaseStart


@pytest.fixture
def folder(tmp_path):
    return new_run_folder(tmp_path, RunConfig(), name="run")


def beat(folder, seconds_ago, **facts):
    """A status whose last beat is some seconds old."""
    write_json(folder / "status.json", {**read_json(folder / "status.json"), **facts})
    then = time.time() - seconds_ago
    os.utime(folder / "status.json", (then, then))


ELSEWHERE = {"host": "node3", "boot": "of another machine", "pid": 1}


def test_a_status_knows_machine_and_process(folder):
    status = read_json(folder / "status.json")
    assert this_process().items() <= status.items()
    assert load_run(folder).state == "running"


def test_a_run_on_another_node_that_beats_goes_on(folder):
    beat(folder, 12, **ELSEWHERE)
    run = load_run(folder)
    assert run.status == "running" and run.state == "running on node3 (last beat 12 s ago)"
    assert is_being_written(folder) and not can_resume(folder)
    with pytest.raises(RuntimeError, match=r"being trained on node3 \(last beat 1\d s ago\)"):
        read_resumption(folder)
    with pytest.raises(RuntimeError, match="can't be deleted"):
        delete_run(folder)


def test_one_that_is_silent_does_not_run_for_ever(folder):
    beat(folder, 3 * 3600 + 5, **ELSEWHERE)
    run = load_run(folder)
    assert (run.status, run.state) == ("failed", "no sign of life for 3 h")
    assert "it ran on node3" in run.error
    assert can_resume(folder) and read_resumption(folder).folder == folder


def test_another_container_of_this_machine_is_elsewhere(folder):
    boot = this_process()["boot"].rpartition("/")[0] + "/pid:[1]"
    beat(folder, 1, boot=boot, host="c0ffee")
    assert load_run(folder).state == "running on c0ffee (last beat 1 s ago)"


def test_a_machine_that_was_restarted_has_killed_its_runs(folder):
    beat(folder, 400 * 86400, boot="the one before")
    run = load_run(folder)
    assert (run.status, run.state) == ("failed", "killed") and "restarted" in run.error


@pytest.mark.parametrize(
    ("host", "silent", "state"),
    [
        # Of the same name, but not restarted since: another container, say.
        (this_host(), 200, "no sign of life for 3 min"),
        ("node3", 400 * 86400, "no sign of life for 400 days"),
    ],
)
def test_a_silent_run_was_killed_by_a_restart_only_of_its_own_machine_and_since(
    folder, monkeypatch, host, silent, state
):
    monkeypatch.setattr(signs.psutil, "boot_time", lambda: time.time() - 86400)
    beat(folder, silent, boot="another", host=host)
    assert load_run(folder).state == state


@pytest.mark.parametrize("change", [{"started": 1}, {"pid": 2**22 + 1}])
def test_another_process_with_its_number_is_not_it(folder, change):
    beat(folder, 1, **change)
    assert load_run(folder).state == "killed" and can_resume(folder)


def test_a_run_beats_while_a_step_takes_long(folder, monkeypatch):
    monkeypatch.setattr(heartbeat, "SECONDS_BETWEEN_BEATS", 0.02)
    events = RunRecorder(folder).record(iter([PhaseStart("data", 0)]))
    next(events)
    os.utime(folder / "status.json", (1, 1))
    deadline = time.monotonic() + 10
    while (folder / "status.json").stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (folder / "status.json").stat().st_mtime > 2
    events.close()
    time.sleep(0.1)
    os.utime(folder / "status.json", (1, 1))
    time.sleep(0.2)
    assert (folder / "status.json").stat().st_mtime < 2  # and no longer


@pytest.mark.parametrize("status", ["running", "failed", "stopped"])
def test_killed_between_result_and_status_is_finished(folder, status):
    write_json(folder / "result.json", {"accuracy": 0.5})
    beat(folder, 1, status=status, pid=2**22 + 1)
    run = load_run(folder)
    assert (run.status, run.state, run.error) == ("finished", "finished", None)
    assert not can_resume(folder)


def test_a_run_whose_name_begins_with_a_dot_is_listed(tmp_path):
    new_run_folder(tmp_path, RunConfig(), name=".hidden-r8")
    (tmp_path / ".cache").mkdir()
    assert [run.folder.name for run in scan_runs(tmp_path)] == [".hidden-r8"]


def test_a_forked_child_leaves_the_run_alone(folder):
    events = RunRecorder(folder).record(iter([PhaseStart("data", 0), PhaseStart("start", 0)]))
    next(events)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    child = os.fork()
    if child == 0:
        try:
            next(events)
        except RuntimeError as error:
            os._exit(0 if "forked child" in str(error) else 2)
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert next(events).name == "start"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (59, "59 s"),
        (119, "1 min"),
        (3599, "59 min"),
        (2 * 3600 - 1, "1 h"),
        (3 * 86400 - 1, "2 days"),
    ],
)
def test_a_time_is_told_in_whole_units_that_are_over(seconds, said):
    assert duration(seconds) == said
