"""Runs as they are found on a disk: broken, foreign, half-written, renamed, and being written."""

import json
import os
import shutil
import time
import tracemalloc
from pathlib import Path

import pytest
from made_runs import being_written

from pclora_lab.json_files import write_json
from pclora_lab.runs import reader as run_reading
from pclora_lab.runs.durable import signs
from pclora_lab.runs.folder import delete_run, is_being_written, new_run_folder, rename_run
from pclora_lab.runs.reader import Run, UnreadableRun, list_runs, load_run, scan_runs
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import PhaseStart

DEEP = "[" * 100_000


@pytest.fixture
def folder(tmp_path):
    """A run of the past."""
    folder = new_run_folder(tmp_path, RunConfig(seed=7), name="old")
    (folder / "history.jsonl").write_text('{"phase": "fade", "step": 1}\n')
    write_json(folder / "result.json", {"accuracy": 0.5, "run_dir": "some/runs/old"})
    write_json(folder / "status.json", {"status": "finished", "error": None})
    return folder


def only(root):
    (entry,) = scan_runs(root)
    return entry


@pytest.mark.parametrize("file", ["config.json", "status.json", "result.json"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"model": ', "it is no JSON"),
        (b"", "it is no JSON"),
        (b"[1, 2]", "holds a list, not an object"),
        (b"null", "holds null, not"),
        (b"\xff\xfe\x00", "not in UTF-8"),
        (DEEP.encode(), "nested too deeply"),
    ],
)
def test_a_broken_file_is_named_and_nothing_else_suffers(folder, file, content, reason):
    healthy = new_run_folder(folder.parent, RunConfig(), name="healthy")
    (folder / file).write_bytes(content)
    entries = {entry.folder.name: entry for entry in scan_runs(folder.parent)}
    assert isinstance(entries["old"], UnreadableRun)
    assert entries["old"].reason.startswith(f"{file} can't be read") and reason in str(entries)
    assert [run.folder for run in list_runs(folder.parent)] == [healthy]


@pytest.mark.parametrize("status", [None, "done", 3, ["running"], {"a": 1}])
def test_an_unknown_status_is_said(folder, status):
    write_json(folder / "status.json", {"status": status})
    assert "a status is one of running, finished" in only(folder.parent).reason


@pytest.mark.parametrize("pid", [None, "12", -1, 0, True, 2**70, 1.5, [1]])
def test_a_running_run_with_an_impossible_process_has_failed(folder, pid):
    (folder / "result.json").unlink()
    write_json(folder / "status.json", {"status": "running", "pid": pid})
    assert only(folder.parent).status == "failed"
    assert not is_being_written(folder)


def test_a_process_that_began_later_is_another_one_with_the_same_number(folder):
    (folder / "result.json").unlink()
    status = {"status": "running", "pid": os.getpid(), "time": 1000.0}
    write_json(folder / "status.json", status)
    assert only(folder.parent).status == "failed"


def test_lines_that_are_no_rows_are_left_out(folder):
    lines = ['{"step": 1}', "[1]", "null", "7", '{"step"', '{"step": NaN}', "\x00", DEEP]
    lines += ['{"step": ' + "9" * 5000 + "}", '{"step": 2}']
    (folder / "history.jsonl").write_bytes("\n".join(lines).encode() + b'\n{"a": "\xff"}\n')
    rows = only(folder.parent).rows
    assert list(rows) == [{"step": 1}, {"step": 2}, {"a": "\ufffd"}]


def test_a_config_of_another_version_is_listed_as_it_is(folder):
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "quantum": True})
    entry = only(folder.parent)
    assert isinstance(entry, Run) and entry.config["quantum"] is True


def test_what_is_no_run_is_said_and_what_is_hidden_is_left_out(tmp_path):
    for name in ("empty", "teachers", ".ipynb_checkpoints", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    entries = scan_runs(tmp_path)
    assert {entry.folder.name for entry in entries} == {"empty", "model"}
    assert all("no run: there is no status.json" in entry.reason for entry in entries)


@pytest.mark.parametrize(
    "missing", ["config.json", "status.json", "versions.json", "history.jsonl"]
)
def test_a_missing_file_does_not_hide_the_run(folder, missing):
    (folder / missing).unlink()
    entry = only(folder.parent)
    expected = UnreadableRun if missing == "config.json" else Run
    assert isinstance(entry, expected)


def test_links_in_a_circle_are_listed_with_a_reason(folder):
    (folder.parent / "loop").symlink_to("loop")
    (folder.parent / "up").symlink_to("..", target_is_directory=True)
    (folder / "result.json").unlink()
    (folder / "status.json").unlink()
    (folder / "status.json").symlink_to("status.json")
    entries = {entry.folder.name: entry for entry in scan_runs(folder.parent)}
    assert set(entries) == {"loop", "up", "old"}
    assert isinstance(entries["loop"], UnreadableRun) and entries["old"].status == "failed"


def test_a_file_that_may_not_be_read_is_a_reason(folder, monkeypatch):
    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "Permission denied" in only(folder.parent).reason


def test_a_pipe_or_a_folder_in_place_of_a_file_does_not_block(folder):
    for name in ("history.jsonl", "result.json"):
        (folder / name).unlink()
    os.mkfifo(folder / "history.jsonl")
    (folder / "result.json").mkdir()
    entry = only(folder.parent)
    assert (entry.rows, entry.result) == ([], None)


def test_readable_and_unreadable_stand_newest_first(tmp_path):
    folders = [new_run_folder(tmp_path, RunConfig(), name=name) for name in "abc"]
    (folders[1] / "config.json").write_text("{")
    for age, folder in enumerate(folders):
        os.utime(folder / "status.json", (1000 - age, 1000 - age))
    assert [entry.folder.name for entry in scan_runs(tmp_path)] == ["a", "b", "c"]


def test_only_what_changed_is_read_again(folder, monkeypatch):
    other = new_run_folder(folder.parent, RunConfig(), name="other")
    write_json(other / "status.json", {"status": "stopped"})
    read, load = [], run_reading._load
    monkeypatch.setattr(run_reading, "_load", lambda f: read.append(f.name) or load(f))
    known: dict = {}
    for _ in range(3):
        entries = scan_runs(folder.parent, known)
    assert sorted(read) == ["old", "other"] and len(entries) == 2
    with (folder / "history.jsonl").open("a") as history:
        history.write('{"step": 2}\n')
    by_name = {entry.folder.name: entry for entry in scan_runs(folder.parent, known)}
    assert read[2:] == ["old"] and len(by_name["old"].rows) == 2
    shutil.rmtree(other)
    assert [entry.folder for entry in scan_runs(folder.parent, known)] == [folder]
    assert list(known) == [folder]


def test_a_run_whose_process_died_is_seen_without_a_change_of_its_files(folder, monkeypatch):
    (folder / "result.json").unlink()
    write_json(folder / "status.json", {"status": "running", "pid": os.getpid()})
    known: dict = {}
    assert scan_runs(folder.parent, known)[0].status == "running"
    monkeypatch.setattr(signs, "is_process_alive", lambda status: False)
    assert scan_runs(folder.parent, known)[0].status == "failed"


def test_a_renamed_run_keeps_all_it_had_and_knows_its_place(folder):
    before = load_run(folder)
    age = (folder / "status.json").stat().st_mtime_ns
    new = rename_run(folder, " rank 8, <b>bold é ")
    assert new == folder.parent / "rank 8, <b>bold é"
    after = load_run(new)
    assert not folder.exists() and (after.rows, after.config) == (before.rows, before.config)
    assert after.result == {**before.result, "run_dir": str(new)}
    assert json.loads((new / "result.json").read_text())["run_dir"] == new.name
    assert (new / "status.json").stat().st_mtime_ns == age


@pytest.mark.parametrize(
    "name",
    ["", "  ", ".hidden", "..", "a/b", "../x", "a\\b", "a\nb", "a\0b", "teachers", "x" * 201],
)
def test_a_name_that_no_run_can_have_is_refused(folder, name):
    with pytest.raises(ValueError, match="a run can't be named"):
        rename_run(folder, name)
    assert folder.is_dir()


def test_a_taken_name_is_refused_also_that_of_a_link_to_nowhere(folder):
    (folder.parent / "empty").mkdir()
    (folder.parent / "link").symlink_to("nowhere")
    for name in ("empty", "link"):
        with pytest.raises(FileExistsError, match="is taken"):
            rename_run(folder, name)
    assert rename_run(folder, "old") == folder


def test_a_folder_that_is_no_run_is_not_renamed(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileNotFoundError, match="no run in"):
        rename_run(tmp_path / "mine", "yours")


def test_a_run_that_is_being_written_stays_where_it_is(tmp_path):
    folder = new_run_folder(tmp_path, RunConfig(), name="now")

    with being_written(folder):
        assert is_being_written(folder)
        for refused, verb in ((delete_run, "deleted"), (lambda f: rename_run(f, "x"), "renamed")):
            with pytest.raises(RuntimeError, match=f"now is being written and can't be {verb}"):
                refused(folder)
    assert not is_being_written(folder)
    delete_run(rename_run(folder, "then"))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_this_thread_began_and_left_may_go(tmp_path):
    folder = new_run_folder(tmp_path, RunConfig(), name="left")
    left = RunRecorder(folder).record(iter([PhaseStart("fade", 1)]))
    next(left)
    assert load_run(folder).status == "running" and not is_being_written(folder)
    delete_run(folder)
    assert not folder.exists()
    left.close()
    assert not folder.exists()


def test_the_run_of_another_live_process_is_not_deleted(folder):
    status = {"status": "running", "pid": os.getppid(), "time": time.time()}
    write_json(folder / "status.json", status)
    with pytest.raises(RuntimeError, match="being written"):
        delete_run(folder)
    write_json(folder / "status.json", {**status, "time": 1000.0})
    delete_run(folder)
    assert not folder.exists()


def test_a_list_of_many_runs_holds_no_rows(tmp_path):
    first = new_run_folder(tmp_path, RunConfig(), name="0")
    shares = {f"blocks.{n}.attn.qkv": 0.123456 for n in range(48)}
    row = json.dumps({"phase": "fade", "step": 1, "layer_mse": shares, "layer_cka": shares})
    (first / "history.jsonl").write_text(f"{row}\n" * 60)
    for number in range(1, 100):
        folder = tmp_path / str(number)
        folder.mkdir()
        for path in first.iterdir():
            os.link(path, folder / path.name)
    tracemalloc.start()
    try:
        runs = scan_runs(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(runs) == 100 and peak < 6e6  # 60 MB for a thousand; with rows it was ten times that
    assert len(runs[0].rows) == 60 and runs[0].rows[-1]["step"] == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"status": "asleep"}'])
def test_a_run_whose_status_cannot_be_read_is_not_being_written(folder, text):
    (folder / "status.json").write_text(text)
    assert not is_being_written(folder)
    delete_run(folder)
    assert not folder.exists()
