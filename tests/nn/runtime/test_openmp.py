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
