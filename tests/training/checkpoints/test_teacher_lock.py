"""One at a time fine-tunes a teacher; the others wait, tell so, and can be stopped."""

import threading
from contextlib import contextmanager

import pytest

from pclora_lab.locks import FolderLock
from pclora_lab.training.checkpoints import teacher_lock
from pclora_lab.training.checkpoints.teacher_lock import lock_teacher
from pclora_lab.training.events import PhaseStart


def taken(waiting):
    """What it tells, and the lock that it gives."""
    told = []
    try:
        while True:
            told.append(next(waiting))
    except StopIteration as end:
        return told, end.value


@contextmanager
def held_by_another_thread(folder):
    """Somebody else fine-tunes there; ``leave()`` ends it."""
    folder.mkdir(parents=True, exist_ok=True)
    has_it, may_go = threading.Event(), threading.Event()

    def hold():
        lock = FolderLock(folder)
        assert lock.acquire()
        has_it.set()
        may_go.wait(20)
        lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    assert has_it.wait(20)

    def leave():
        may_go.set()
        thread.join(20)

    try:
        yield leave
    finally:
        leave()


def test_a_free_folder_is_made_and_locked_at_once(tmp_path):
    folder = tmp_path / "teachers" / "abc"
    told, lock = taken(lock_teacher(folder))
    assert told == [] and folder.is_dir()
    assert not FolderLock(folder).acquire()
    lock.release()
    again = FolderLock(folder)
    assert again.acquire()
    again.release()


def test_a_folder_that_is_there_is_as_good(tmp_path):
    _, lock = taken(lock_teacher(tmp_path))
    assert lock.is_held_by_this_thread
    lock.release()


def test_whoever_waits_says_so_between_two_tries_and_gets_it_in_the_end(tmp_path, monkeypatch):
    slept = []
    with held_by_another_thread(tmp_path / "abc") as leave:
        monkeypatch.setattr(teacher_lock.time, "sleep", slept.append)
        waiting = lock_teacher(tmp_path / "abc")
        assert [next(waiting) for _ in range(3)] == [PhaseStart("waiting", 0)] * 3
        assert slept == [0.5, 0.5]
        leave()
        told, lock = taken(waiting)
        assert told == [] and lock.is_held_by_this_thread
        lock.release()


def test_a_wait_can_be_left(tmp_path):
    with held_by_another_thread(tmp_path / "abc"):
        waiting = lock_teacher(tmp_path / "abc")
        next(waiting)
        waiting.close()


def test_a_thread_does_not_wait_for_itself(tmp_path):
    mine = FolderLock(tmp_path)
    assert mine.acquire()
    told, _ = taken(lock_teacher(tmp_path))
    assert told == []
    mine.release()


def test_where_nothing_can_be_kept_nobody_waits(tmp_path):
    (tmp_path / "teachers").write_text("no folder can be here")
    told, lock = taken(lock_teacher(tmp_path / "teachers" / "abc"))
    assert told == [] and not lock.is_held_by_this_thread
    lock.release()


@pytest.mark.parametrize("depth", [1, 3])
def test_folders_above_it_are_made_too(tmp_path, depth):
    folder = tmp_path.joinpath(*["deep"] * depth)
    taken(lock_teacher(folder))[1].release()
    assert folder.is_dir()
