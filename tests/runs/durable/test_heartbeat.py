"""A sign of life is given by a thread of its own, as long as the run, and ends nothing."""

import os
import threading

import pytest
from waiting import until

from pclora_lab.runs.durable import heartbeat
from pclora_lab.runs.durable.heartbeat import beating
from pclora_lab.runs.durable.signs import SILENT_AFTER


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(heartbeat, "SECONDS_BETWEEN_BEATS", 0.01)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run" / "status.json"
    path.parent.mkdir()
    path.write_text("{}")
    return path


def aged(path):
    os.utime(path, (1, 1), follow_symlinks=False)
    return path


def is_new(path):
    return path.lstat().st_mtime > 2


def threads(path):
    return [t for t in threading.enumerate() if t.name == f"heartbeat {path.parent.name}"]


def test_the_time_of_the_file_is_kept_new_until_the_run_is_over(path):
    with beating(aged(path)):
        until(lambda: is_new(path), 10)
        aged(path)
        until(lambda: is_new(path), 10)  # and again
        (thread,) = threads(path)
        assert thread.daemon  # or it would keep the process alive
    thread.join(10)
    assert not thread.is_alive() and path.read_text() == "{}"


def test_it_ends_where_the_run_fails(path):
    with pytest.raises(RuntimeError, match="no memory"), beating(path):
        (thread,) = threads(path)
        raise RuntimeError("no memory")
    thread.join(10)
    assert not thread.is_alive()


def test_a_file_that_is_gone_ends_nothing_and_comes_back_beating(path):
    path.unlink()
    with beating(path):
        (thread,) = threads(path)
        thread.join(0.05)
        assert thread.is_alive() and not path.exists()
        path.write_text("{}")
        aged(path)
        until(lambda: is_new(path), 10)


def test_what_a_link_leads_to_is_not_touched(path, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_text("")
    path.unlink()
    path.symlink_to(aged(theirs))
    aged(path)
    with beating(path):
        until(lambda: is_new(path), 10)
    assert not is_new(theirs)


def test_some_beats_may_be_lost_before_a_run_counts_as_gone(monkeypatch):
    monkeypatch.undo()
    assert 5 * heartbeat.SECONDS_BETWEEN_BEATS <= SILENT_AFTER
