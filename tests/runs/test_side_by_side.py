"""Cells of a comparison in several processes: the same table, whoever dies or comes in between."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from pclora_lab.cli.main import main
from pclora_lab.locks import FolderLock
from pclora_lab.machine import this_process, usable_cores
from pclora_lab.runs.comparison import CellBusy, Comparison, Workers, run_cell, side_by_side
from pclora_lab.runs.comparison import workers as workers_module
from pclora_lab.runs.comparison.in_turn import Outcome
from pclora_lab.runs.comparison.work import Report
from pclora_lab.training.config import RunConfig

BASE = RunConfig(steps=2, evaluations=1, eval_images=16, device="cpu")
GRID = {"methods": ("pclora", "svd"), "budgets": (0.2,), "seeds": (0, 1)}
MEASURED = {"seconds", "peak_memory_mb", "latency_ms_before", "latency_ms_after"}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    yield
    torch.set_num_threads(before)


def table(comparison):
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in comparison.rows()]


def run(base=BASE, **grid):
    comparison = Comparison(base, **grid)
    steps = list(comparison.run())
    assert steps[-1].done == steps[-1].total and all(step.done <= step.total for step in steps)
    return comparison


def test_two_workers_give_what_one_process_gives(tmp_path):
    alone = run(**GRID, out=tmp_path / "alone")
    both = run(**GRID, out=tmp_path / "both", workers=2)
    assert table(both) == table(alone) and all(row["error"] is None for row in table(both))
    assert both.tuning == alone.tuning and both.search.chosen == alone.search.chosen
    pids = {
        json.loads(path.read_text())["pid"] for path in tmp_path.glob("both/cells/*/status.json")
    }
    assert len(pids) == 2 and this_process()["pid"] not in pids
    again = [step for step in Comparison(BASE, **GRID, out=tmp_path / "both", workers=2).run()]
    assert all(step.ends_cell and step.was_there for step in again)


def test_a_killed_worker_costs_its_unsaved_steps_only(tmp_path):
    base = RunConfig(steps=60, evaluations=1, eval_images=16, device="cpu", layer_metrics=False)
    grid = {"methods": ("pclora",), "budgets": (0.2,), "seeds": (0, 1), "lrs": (5e-3,)}
    comparison, killed = Comparison(base, **grid, out=tmp_path, workers=2), []
    status = tmp_path / "cells" / "pclora-b0.2-s0" / "status.json"
    for step in comparison.run():
        if not killed and step.cell.seed == 0 and step.done > 5:
            killed.append(json.loads(status.read_text())["pid"])
            os.kill(killed[0], signal.SIGKILL)
    assert killed and json.loads(status.read_text())["pid"] != killed[0]
    rows = (tmp_path / "cells" / "pclora-b0.2-s1" / "history.jsonl").read_text().splitlines()
    steps = [json.loads(row)["step"] for row in rows]
    assert steps == sorted(steps)  # the other worker lost nothing
    assert [row["error"] for row in comparison.rows()] == [None, None]


def test_a_cell_that_ends_its_worker_each_time_is_a_row_that_says_so(tmp_path, monkeypatch):
    def die(job):
        if job.cell.seed == 0:
            with open(job.out / "deaths", "a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return Report(Outcome())

    monkeypatch.setattr(side_by_side, "work", die)
    monkeypatch.setattr(side_by_side, "TRIES", 2)
    grid = {"methods": ("pclora",), "budgets": (0.2,), "seeds": (0, 1), "lrs": (5e-3,)}
    comparison = run(**grid, out=tmp_path, workers=2)
    first, second = comparison.rows()
    assert "its worker ended" in first["error"] and second["error"] == "not run yet"
    assert (tmp_path / "deaths").read_text() == "xx"


def test_a_stopped_comparison_leaves_checkpoints_and_no_process(tmp_path):
    base = RunConfig(steps=500, evaluations=1, eval_images=16, device="cpu", layer_metrics=False)
    grid = {"methods": ("pclora",), "budgets": (0.2,), "seeds": (0, 1, 2), "lrs": (5e-3,)}
    steps = Comparison(base, **grid, out=tmp_path, workers=2).run()
    next(step for step in steps if step.done > 3)
    steps.close()
    time.sleep(1)  # nobody goes on with the third
    assert len(list(tmp_path.glob("cells/*"))) == 2
    for status in tmp_path.glob("cells/*/status.json"):
        facts = json.loads(status.read_text())
        assert facts["status"] == "stopped"
        with pytest.raises(ProcessLookupError):
            os.kill(facts["pid"], 0)


def test_what_somebody_else_runs_is_waited_for(tmp_path):
    grid = {"methods": ("svd",), "budgets": (0.2,), "seeds": (0,), "out": tmp_path}
    comparison = Comparison(BASE, **grid)
    (cell,) = comparison.cells("svd")
    (tmp_path / "locks").mkdir()
    lock = FolderLock(tmp_path / "locks", f"{cell.name}.lock")
    taken = threading.Event()

    def hold():
        lock.acquire()
        taken.set()
        time.sleep(1)
        lock.release()

    threading.Thread(target=hold).start()
    taken.wait()
    with pytest.raises(CellBusy, match=f"{cell.name}.*is being run by process {os.getpid()}"):
        run_cell(cell, tmp_path)
    steps = list(comparison.run())
    assert len(steps) > 1 and steps[0].done == 0  # it was asked for in vain at first
    assert [row["error"] for row in comparison.rows()] == [None]


def test_two_comparisons_in_one_folder_share_the_cells(tmp_path):
    grid = {**GRID, "methods": ("svd", "pclora"), "budgets": (0.1, 0.2), "lrs": (5e-3,)}
    made = [Comparison(BASE, **grid, out=tmp_path) for _ in range(2)]
    threads = [threading.Thread(target=lambda c=c: list(c.run())) for c in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table(made[0]) == table(made[1]) and not any(row["error"] for row in made[0].rows())
    names = sorted(path.name for path in (tmp_path / "cells").iterdir())
    assert names == sorted(c.name for method in grid["methods"] for c in made[0].cells(method))


@pytest.fixture
def four_gpus(monkeypatch):
    names = [f"cuda:{number}" for number in range(4)]
    monkeypatch.setattr(workers_module, "available_devices", lambda: [*names, "cpu"])
    monkeypatch.setattr(
        workers_module,
        "resolve_device",
        lambda name: torch.device({"auto": "cuda:0", "cuda": "cuda:0"}.get(name, name)),
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_every_worker_sees_a_device_of_its_own(four_gpus, monkeypatch):
    base = RunConfig()
    assert Workers.of(3, None, base).devices == ("cuda:0", "cuda:1", "cuda:2")
    two = Workers.of(2, ("cuda:3", "cuda:1"), base)
    assert [two.environment(n)["CUDA_VISIBLE_DEVICES"] for n in range(2)] == ["3", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")  # a part of the machine is ours
    assert [two.environment(n)["CUDA_VISIBLE_DEVICES"] for n in range(2)] == ["7", "5"]
    assert "CUDA_VISIBLE_DEVICES" not in Workers.of(2, None, RunConfig(device="cpu")).environment(0)


@pytest.mark.parametrize(
    ("count", "devices", "device", "message"),
    [
        (0, None, "auto", "workers is 0: it must be a whole number from 1 up"),
        (True, None, "auto", "workers is True"),
        (1.5, None, "auto", "workers is 1.5"),
        ("many", None, "auto", "workers is 'many'"),
        (5, None, "auto", "workers is 5, but there are 4 devices: cuda:0, .*take at most 4"),
        (3, ("cuda:0", "cuda:1"), "auto", "workers is 3, but there are 2 devices"),
        (10**6, None, "cpu", "workers is 1000000, but there are .* CPU cores"),
        (2, ("cuda:1", "cuda:1"), "auto", "name at least one, and each once"),
        (2, (), "auto", "name at least one"),
        (2, ("cuda:1", "cpu"), "auto", "devices of two kinds"),
        (2, ("cuda:1", "cuda:2"), "cpu", "but device is 'cpu'"),
        (2, ("cuda:1", "cuda:2"), "cuda:1", "but device is 'cuda:1'"),
    ],
)
def test_workers_that_can_not_be_are_refused(four_gpus, count, devices, device, message):
    with pytest.raises(ValueError, match=message):
        Workers.of(count, devices, RunConfig(device=device))


def test_auto_looks_at_the_memory(monkeypatch):
    base, cores = RunConfig(device="cpu"), usable_cores()

    def free(gigabytes):
        facts = type("Memory", (), {"available": gigabytes * 1e9})
        monkeypatch.setattr(workers_module.psutil, "virtual_memory", lambda: facts)
        return Workers.of("auto", None, base).count

    assert (free(0.5), free(1e6)) == (1, cores)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workers", "some"], "--workers 'some' is no number"),
        (["--workers", "0"], "workers is 0"),
        (["--backend", "sparkle"], "backend is 'sparkle': use one of loky, ray, dask"),
        (["--backend", "threading"], "backend is 'threading'"),
        (["--address", "10.0.0.1:6379"], "loky has none: leave it out"),
        (["--env", "HF_HOME"], "--env 'HF_HOME' is not NAME=VALUE"),
        (["--env", "=x"], "a name has no ="),
        (["--devices", "gpu"], "unknown device 'gpu'"),
        (["--devices", "cpu,cpu"], "each once"),
    ],
)
def test_bad_flags_are_named(tmp_path, capsys, flags, message):
    assert main(["compare", *flags, "--out", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err and not Path(tmp_path / "new").exists()
