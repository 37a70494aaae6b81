"""Two of whatever writes into one place never race: one waits, or is told who is there."""

import os
import signal
import threading
import time

import pytest

from pclora_lab.locks import FolderLock
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.runs.resuming import read_resumption
from pclora_lab.training.checkpoints import teacher_lock
from pclora_lab.training.checkpoints.teacher_lock import lock_teacher
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import PhaseStart


def test_two_resumes_of_one_run_do_not_meet(tmp_path):
    folder = new_run_folder(tmp_path, RunConfig(), name="run")
    RunRecorder(folder).record(iter([PhaseStart("data", 0)])).close()
    (folder / "status.json").write_text('{"status": "stopped"}')
    first, second = read_resumption(folder), read_resumption(folder)
    events = first.events()
    with pytest.raises(RuntimeError, match=f"being trained by process {os.getpid()} on"):
        second.events()
    next(events), next(events)  # data and model were read: now it begins to write
    events.close()
    with pytest.raises(RuntimeError, match="has gone on meanwhile"):
        second.events()
    assert read_resumption(folder).events()


def test_a_link_in_place_of_a_lock_is_not_written_to(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / ".lock").symlink_to(precious)
    with pytest.warns(UserWarning, match="can't be locked"):
        assert FolderLock(tmp_path).acquire()
    assert precious.read_text() == "mine"


def test_eight_processes_that_need_one_teacher_make_it_once(tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_lock, "SECONDS_BETWEEN_TRIES", 0.05)
    teacher = tmp_path / "teachers" / "0123"
    children: list[int] = []
    for number in range(8):
        if (child := os.fork()) == 0:
            os._exit(_need(teacher, number))
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    assert len(list(teacher.glob("made by *"))) == 1


def _need(teacher, number):
    """As a run does: wait for the lock, then make what nobody else has made meanwhile."""
    waiting = lock_teacher(teacher)
    while True:
        try:
            next(waiting)
        except StopIteration as over:
            lock = over.value
            break
    if not list(teacher.glob("made by *")):
        time.sleep(0.2)
        (teacher / f"made by {number}").touch()
    lock.release()
    return 0


def test_a_lock_ends_with_its_process(tmp_path):
    child = os.fork()
    if child == 0:
        FolderLock(tmp_path).acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert FolderLock(tmp_path).acquire()


def test_a_run_waits_in_a_phase_of_its_own_and_can_be_stopped(tmp_path):
    waiting = lock_teacher(tmp_path)
    lock = FolderLock(tmp_path)
    other = threading.Thread(target=lock.acquire)
    other.start()
    other.join()
    assert next(waiting) == PhaseStart("waiting", 0)
    waiting.close()
    lock.release()


def test_who_waits_looks_again_within_a_second():
    assert 0 < teacher_lock.SECONDS_BETWEEN_TRIES <= 1
