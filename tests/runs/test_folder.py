"""A run's folder: its name, what it is taken for, who writes into it, and how it goes."""

import json
import os
import threading
import time

import pytest
from made_runs import being_written

from pclora_lab.json_files import read_json, write_json
from pclora_lab.locks import LOCK_FILE, FolderLock
from pclora_lab.machine import this_process
from pclora_lab.runs import folder as module
from pclora_lab.runs.folder import (
    delete_run,
    is_being_written,
    is_unbegun,
    new_run_folder,
    rename_run,
    run_name,
)
from pclora_lab.training.config import RunConfig, read_config


@pytest.fixture
def folder(tmp_path):
    """A run that has finished."""
    folder = new_run_folder(tmp_path / "runs", RunConfig(seed=7), name="old")
    write_json(folder / "status.json", {"status": "finished", "error": None})
    return folder


# New


def test_a_new_folder_has_config_versions_and_status(tmp_path):
    folder = new_run_folder(tmp_path / "deep" / "runs", RunConfig(seed=7))
    assert folder.name == run_name(RunConfig(seed=7))
    assert read_config(folder) == RunConfig(seed=7)
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "versions.json", "status.json"}
    assert read_json(folder / "status.json")["status"] == "running"


def test_names_are_counted_on_from_two(tmp_path):
    names = [new_run_folder(tmp_path, RunConfig(), name="mine").name for _ in range(3)]
    assert names == ["mine", "mine-2", "mine-3"]


def test_what_can_not_be_written_leaves_no_folder(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        new_run_folder(tmp_path, RunConfig(), name="mine")
    assert not list(tmp_path.iterdir())


# Unbegun


@pytest.mark.parametrize(
    ("files", "is_empty"),
    [
        ([], True),
        (["config.json.0a.part"], True),
        (["versions.json", "status.json", "history.jsonl", LOCK_FILE], True),
        (["versions.json", "config.json"], False),
        (["status.json", "checkpoint.safetensors"], False),
        (["notes.txt"], False),
    ],
)
def test_a_run_did_not_begin_where_not_even_its_settings_were_written(tmp_path, files, is_empty):
    for name in files:
        (tmp_path / name).write_text("{")
    assert is_unbegun(tmp_path) is is_empty and is_unbegun(str(tmp_path)) is is_empty


def test_what_is_no_folder_or_holds_one_or_is_a_link_is_no_run_that_did_not_begin(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "holds" / "status.json").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert is_unbegun(tmp_path / "empty")
    for name in ("nowhere", "file", "holds", "link"):
        assert not is_unbegun(tmp_path / name), name


# Who writes


def status(folder, **facts):
    write_json(
        folder / "status.json",
        {"status": "running", "error": None, "time": time.time(), **this_process(), **facts},
    )


def test_a_run_is_written_by_whoever_lives_and_is_not_asking(folder, monkeypatch):
    assert not is_being_written(folder)  # it has finished
    status(folder)
    assert not is_being_written(folder)  # by a run of this process that is over
    with being_written(folder):
        assert is_being_written(folder) and is_being_written(str(folder))
        monkeypatch.chdir(folder.parent)
        assert is_being_written("old")
        status(folder, status="stopped")
        assert not is_being_written(folder)
    assert not is_being_written(folder)


def test_a_thread_that_is_over_or_asks_itself_is_not_writing(folder):
    status(folder)
    gone = threading.Thread(target=int)
    gone.start()
    gone.join()
    for writer in (gone, threading.current_thread()):
        module._recorded[os.path.realpath(folder)] = writer
        try:
            assert not is_being_written(folder)
        finally:
            module._recorded.clear()


def test_a_process_elsewhere_writes_as_long_as_it_beats(folder):
    status(folder, boot="of another machine", host="node3")
    assert is_being_written(folder)
    os.utime(folder / "status.json", (1, 1))
    assert not is_being_written(folder)


def test_where_it_can_not_be_told_nobody_writes(folder):
    status(folder, pid=os.getppid(), started=0)
    assert not is_being_written(folder)  # another process has the number now
    values = {"status": "running", "pid": os.getppid()}
    write_json(folder / "status.json", values)
    assert not is_being_written(folder)  # when it began is not known
    write_json(folder / "status.json", {**values, "time": time.time()})
    assert is_being_written(folder)
    for text in ("{ cut", "[]", '{"status": "asleep"}'):
        (folder / "status.json").write_text(text)
        assert not is_being_written(folder)
    (folder / "status.json").unlink()
    assert not is_being_written(folder)


def test_a_forked_child_knows_of_none_of_its_parents_threads(folder):
    module._recorded["somewhere"] = threading.current_thread()
    child = os.fork()
    if child == 0:
        os._exit(len(module._recorded))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert module._recorded.pop("somewhere") is threading.current_thread()


# Delete


@pytest.mark.parametrize("left", ["versions.json", "status.json", "config.json.0a.part"])
def test_a_run_of_which_one_file_is_left_can_be_deleted(tmp_path, left):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / left).write_text("{}")
    delete_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_may_be_anybodys(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no run in .*empty: there is no versions.json"):
        delete_run(tmp_path / "empty")
    assert (tmp_path / "empty").is_dir()


def test_what_somebody_else_has_locked_stays_and_their_lock_too(folder):
    theirs = FolderLock(folder)
    locked, over = threading.Event(), threading.Event()

    def hold():
        theirs.acquire()
        locked.set()
        over.wait(10)
        theirs.release()

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait(10)
    try:
        for change, verb in ((delete_run, "deleted"), (lambda f: rename_run(f, "new"), "renamed")):
            with pytest.raises(
                RuntimeError,
                match=f"^old is being written and can't be {verb}: stop the run, or wait for its",
            ):
                change(folder)
        assert folder.is_dir() and not FolderLock(folder).acquire()
    finally:
        over.set()
        thread.join()
    free = FolderLock(folder)
    assert free.acquire()
    free.release()


def test_a_run_that_is_refused_is_not_left_locked(folder):
    status(folder, boot="of another machine", host="node3")
    with pytest.raises(RuntimeError, match="being written"):
        delete_run(folder)
    lock = FolderLock(folder)
    assert lock.acquire()
    lock.release()


# Rename


def test_a_run_that_was_renamed_is_not_left_locked(folder):
    new = rename_run(folder, "new")
    lock = FolderLock(new)
    assert new == folder.with_name("new") and lock.acquire()
    lock.release()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("  ", "it is empty"),
        ("a/b", r"it may hold no / and no \\"),
        ("a\\b", r"it may hold no / and no \\"),
        ("a\tb", "only characters that can be seen"),
        (".a", "a name with a dot in front is hidden"),
        ("teachers", "'teachers' is no run's"),
        ("x" * 201, "it has 201 bytes, 200 is the most"),
        ("é" * 101, "it has 202 bytes, 200 is the most"),
    ],
)
def test_a_name_is_refused_with_the_reason_and_what_to_write(folder, name, reason):
    with pytest.raises(ValueError, match=f"can't be named .*: .*{reason}.*; write letters"):
        rename_run(folder, name)
    assert folder.is_dir()


@pytest.mark.parametrize("name", ["x" * 200, "é" * 100, "a.b", "my teachers", " a "])
def test_any_other_name_is_taken_without_the_spaces_around_it(folder, name):
    assert rename_run(folder, name).name == name.strip()


def test_a_run_that_keeps_its_name_is_left_alone_even_while_it_is_written(folder):
    status(folder, boot="of another machine", host="node3")
    assert rename_run(folder, " old ") == folder


@pytest.mark.parametrize(
    ("result", "after"),
    [
        ({"run_dir": "runs/old", "accuracy": 1}, {"run_dir": "new", "accuracy": 1}),
        ({"run_dir": "runs/other"}, {"run_dir": "runs/other"}),
        ({"run_dir": 3}, {"run_dir": 3}),
        ({"accuracy": 1}, {"accuracy": 1}),
    ],
)
def test_a_result_knows_its_runs_new_name_and_no_other_is_changed(folder, result, after):
    (folder / "result.json").write_text(json.dumps(result))
    new = rename_run(folder, "new")
    assert read_json(new / "result.json") == after


@pytest.mark.parametrize("text", [None, "{ cut", "[]"])
def test_a_result_that_can_not_be_read_does_not_stand_in_the_way(folder, text):
    if text is not None:
        (folder / "result.json").write_text(text)
    new = rename_run(folder, "new")
    assert (new / "result.json").is_file() is (text is not None)
