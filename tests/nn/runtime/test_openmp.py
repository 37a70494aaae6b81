"""The main thread's workers go away, and come back when it computes again."""

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from pclora_lab.nn.runtime import openmp as threads
from pclora_lab.nn.runtime.openmp import release_after_cells, release_workers

HAS_GNU_OPENMP = threads._openmp() is not None
COUNT = """
import time
import psutil, torch
from pclora_lab.nn.runtime.openmp import release_workers
count = psutil.Process().num_threads
torch.set_num_threads(4)
x = torch.randn(600, 600)
before = count()
expected = x @ x
busy = count()
assert release_workers()
# A worker that was told to end is counted until the system has taken it away.
until = time.monotonic() + 10
while count() > before and time.monotonic() < until:
    time.sleep(0.01)
idle = count()
assert torch.equal(x @ x, expected)
print(before, busy, idle, count())
"""


@pytest.mark.skipif(not HAS_GNU_OPENMP, reason="torch uses another OpenMP library here")
def test_idle_workers_end_and_come_back():
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    before, busy, idle, again = map(int, done.stdout.split())
    assert before < busy and idle == before and again == busy


def test_a_thread_that_has_none_may_ask(monkeypatch):
    found = []
    thread = threading.Thread(target=lambda: found.append(release_workers()))
    thread.start()
    thread.join()
    assert found == [HAS_GNU_OPENMP]
    monkeypatch.setattr(threads, "_openmp", lambda: None)
    assert release_workers() is False
    assert float(torch.ones(3).sum()) == 3


def test_a_notebook_lets_go_after_every_cell_once(monkeypatch):
    calls = {"post_execute": []}
    events = SimpleNamespace(callbacks=calls, register=lambda name, call: calls[name].append(call))
    shell = SimpleNamespace(events=events)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    release_after_cells()
    release_after_cells()
    (call,) = calls["post_execute"]
    call()


@pytest.mark.parametrize(("answer", "is_done"), [(0, True), (1, False), (-1, False)])
def test_it_is_told_whether_the_workers_are_gone(monkeypatch, answer, is_done):
    kinds = []
    library = SimpleNamespace(omp_pause_resource_all=lambda kind: kinds.append(kind) or answer)
    monkeypatch.setattr(threads, "_openmp", lambda: library)
    assert release_workers() is is_done
    assert kinds == [2], "omp_pause_hard of OpenMP 5.0: nothing is kept"


def test_a_library_that_can_not_let_go_is_left_alone(monkeypatch):
    monkeypatch.setattr(threads, "_openmp", lambda: SimpleNamespace())
    assert release_workers() is False


def test_the_library_is_the_one_that_torch_brings_along(monkeypatch, tmp_path):
    monkeypatch.setattr(threads.torch, "__file__", str(tmp_path / "__init__.py"))
    look = threads._openmp.__wrapped__
    assert look() is None
    (tmp_path / "lib").mkdir()
    for name in ("libgomp-b.so.1", "libgomp-a.so.1", "libother.so"):
        (tmp_path / "lib" / name).write_bytes(b"")
    asked = []
    monkeypatch.setattr(threads.ctypes, "CDLL", lambda path: asked.append(path) or "library")
    assert look() == "library" and asked == [str(tmp_path / "lib" / "libgomp-a.so.1")]

    def broken(path: str) -> None:
        raise OSError("no library")

    monkeypatch.setattr(threads.ctypes, "CDLL", broken)
    assert look() is None


@pytest.mark.parametrize("shell", [None, "none imported"])
def test_outside_of_a_notebook_nothing_is_done(monkeypatch, shell):
    if shell is None:
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    else:
        monkeypatch.delitem(sys.modules, "IPython", raising=False)
    release_after_cells()
