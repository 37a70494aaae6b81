"""Workers of an engine that is not ours: what is sent to them, how often, and how it is stopped."""

import dataclasses
import json
import os
import socket
import sys
import time
import types

import joblib
import pytest
from joblib._parallel_backends import ThreadingBackend

from pclora_lab.cli.compare import _without_values
from pclora_lab.json_files import write_json
from pclora_lab.machine import this_host, this_process
from pclora_lab.runs.comparison import CellBusy, Comparison, Workers, run_cell
from pclora_lab.runs.comparison import backend as backend_module
from pclora_lab.runs.comparison.backend import Backend
from pclora_lab.runs.comparison.cells import cell_folder
from pclora_lab.runs.comparison.engines.ray_engine import RayEngine
from pclora_lab.runs.comparison.side_by_side import SideBySide
from pclora_lab.runs.comparison.work import Job, look_around, work
from pclora_lab.runs.comparison.workers import Needs
from pclora_lab.training.config import RunConfig

BASE = RunConfig(steps=2, evaluations=1, eval_images=16, device="cpu", layer_metrics=False)
GRID = {"methods": ("svd",), "budgets": (0.1, 0.2), "seeds": (0,)}
MEASURED = {"seconds", "peak_memory_mb", "latency_ms_before", "latency_ms_after"}


class Threads:
    """The least that an engine is: it calls the function in the thread that waits for it."""

    def __init__(self):
        self.calls = []
        self.is_closed = False

    def run(self, worker, function, *arguments):
        self.calls.append(arguments)
        return function(*arguments)

    def room(self, needs):
        return 2

    def interrupt(self):
        pass

    def close(self):
        self.is_closed = True


@pytest.fixture
def grid(tmp_path):
    """Cells of a comparison that were not run, and its folder."""
    comparison = Comparison(BASE, **GRID, out=tmp_path)
    return comparison.cells("svd"), tmp_path


def outcomes(engine, cells, out, count=2):
    runner = SideBySide(out, engine, count, print)
    try:
        return {m.cell.name: m.outcome for m in runner.run(cells) if m.outcome is not None}
    finally:
        runner.close()


def table(comparison):
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in comparison.rows()]


def test_a_backend_that_is_registered_with_joblib_gives_the_same_table(tmp_path):
    joblib.register_parallel_backend("toy", type("Toy", (ThreadingBackend,), {}))
    tables = []
    for name, options in (("alone", {}), ("toy", {"backend": "toy", "workers": 2})):
        comparison = Comparison(BASE, **GRID, out=tmp_path / name, **options)
        steps = list(comparison.run())
        assert steps[-1].done == steps[-1].total
        tables.append(table(comparison))
    assert tables[0] == tables[1] and not any(row["error"] for row in tables[0])
    assert comparison.workers.count == 2 and comparison.base.precision == "float32"


def test_a_cell_whose_worker_dies_is_sent_again_and_no_other(grid):
    class Deadly(Threads):
        def run(self, worker, function, job):
            self.calls.append((job,))
            if job.cell is cells[0] and len([j for (j,) in self.calls if j.cell is cells[0]]) < 3:
                raise RuntimeError("The worker died unexpectedly\nwhile it was at work")
            return function(job)

    cells, out = grid
    engine = Deadly()
    found = outcomes(engine, cells, out)
    assert [found[cell.name].error for cell in cells] == [None, None] and engine.is_closed
    assert sorted(job.cell.name for (job,) in engine.calls) == sorted(
        [cells[0].name] * 3 + [cells[1].name]
    )
    assert len({job.number for (job,) in engine.calls}) == 4


def test_a_cell_that_ends_every_worker_is_a_row_with_the_reason(grid):
    class Deadly(Threads):
        def run(self, worker, function, job):
            self.calls.append(job)
            raise RuntimeError("The worker died unexpectedly\nwhile it was at work")

    cells, out = grid
    engine = Deadly()
    found = outcomes(engine, cells[:1], out)
    reason = "its worker ended: The worker died unexpectedly while it was at work"
    assert found[cells[0].name].error == reason and len(engine.calls) == 4


def test_what_an_engine_begins_again_by_itself_counts_as_a_death(grid):
    (cell, *_), out = grid
    job = Job(cell, out, "1", out / "stop")
    assert work(job).outcome.error is None
    again = work(job)
    assert again.has_died and again.outcome.error == "its worker ended"
    assert not work(dataclasses.replace(job, number="2")).has_died


def test_a_worker_that_does_not_see_the_folder_says_so(grid, tmp_path):
    (cell, *_), _ = grid
    elsewhere = tmp_path / "elsewhere"
    report = work(Job(cell, elsewhere, "1", elsewhere / "stop"))
    assert f"{this_host()} does not see {elsewhere}" in report.outcome.error
    assert not report.has_died and not elsewhere.exists()
    with pytest.raises(FileNotFoundError, match="put the comparison on a disk that all nodes"):
        look_around(BASE, elsewhere)


def test_workers_that_nothing_interrupts_stop_between_two_steps(tmp_path):
    base = dataclasses.replace(BASE, steps=5000)
    methods = {"methods": ("pclora",), "budgets": (0.2,), "seeds": (0, 1, 2), "lrs": (5e-3,)}
    comparison = Comparison(base, **methods, out=tmp_path)
    engine = Threads()
    runner = SideBySide(tmp_path, engine, 2, print)
    going = runner.run(comparison.cells("pclora"))
    next(moved for moved in going if moved.steps > 2)
    began = time.monotonic()
    runner.close()
    assert time.monotonic() - began < 15 and engine.is_closed
    found = sorted(tmp_path.glob("cells/*/status.json"))
    assert [json.loads(path.read_text())["status"] for path in found] == ["stopped"] * 2
    assert not list(tmp_path.glob("locks/*.stop"))


def test_a_run_of_another_host_is_left_to_it_while_it_beats(grid):
    (cell, *_), out = grid
    assert run_cell(cell, out)["method"] == "svd"
    folder = cell_folder(cell, out)
    (folder / "result.json").unlink()
    other = {**this_process(), "host": "node7", "boot": "another"}
    write_json(folder / "status.json", {"status": "running", "time": time.time(), **other})
    with pytest.raises(CellBusy, match=r"is running on node7 \(last beat"):
        run_cell(cell, out)
    os.utime(folder / "status.json", (time.time() - 1000,) * 2)
    assert run_cell(cell, out)["method"] == "svd"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("spark", None, {}), "backend is 'spark'.*register_parallel_backend"),
        (("sequential", None, {}), "backend is 'sequential'"),
        (("multiprocessing", None, {}), "backend is 'multiprocessing'"),
        (("loky", "node1:6379", {}), "loky has none"),
        (("ray", "node1", {}), "of ray it is auto, HOST:PORT"),
        (("ray", "node1:0", {}), "of ray it is"),
        (("ray", ":6379", {}), "of ray it is"),
        (("dask", "auto", {}), "of dask it is tcp://HOST:PORT"),
        (("loky", None, {"A": 1}), "environment holds 'A': 1"),
        (("loky", None, {"A=B": "1"}), "a name has no ="),
    ],
)
def test_backends_that_can_not_be_are_refused(monkeypatch, arguments, message):
    monkeypatch.setattr(backend_module.importlib.util, "find_spec", lambda name: name)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ValueError, match=message):
        Backend.of(*arguments)


@pytest.mark.parametrize(("name", "extra"), [("ray", "cluster"), ("dask", "dask")])
def test_a_backend_that_is_not_installed_names_the_command(monkeypatch, name, extra):
    monkeypatch.setattr(backend_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=rf"pip install 'pclora-lab\[{extra}\]'"):
        Backend.of(name, None, {})


def test_ray_is_found_where_its_own_tools_look(monkeypatch):
    monkeypatch.setattr(backend_module.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("RAY_ADDRESS", "node1:6379")
    assert Backend.of("ray", None, {}).address == "node1:6379"
    monkeypatch.delenv("RAY_ADDRESS")
    assert not Backend.of("ray", None, {}).is_elsewhere
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(is_initialized=lambda: True))
    assert Backend.of("ray", None, {}).address == "auto"


def test_nobody_answers(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(ConnectionError, match=f"no ray answers at {address}.*start it there"):
            Backend("ray", address).require_answer()
    with pytest.raises(ConnectionError, match=r"no dask answers at tcp://no\.such\.host:8786"):
        Backend("dask", "tcp://no.such.host:8786").require_answer()
    Backend("ray", "auto").require_answer()


def test_a_cluster_s_workers_are_counted_when_it_is_there():
    there = Backend("ray", "node1:6379", {"HF_HOME": "/shared/hf"})
    workers = Workers.of(None, None, RunConfig(), there)
    assert workers.count is None and Workers.of(64, None, RunConfig(), there).count == 64
    assert workers.environment()["HF_HOME"] == "/shared/hf"
    assert workers.environment()["OMP_NUM_THREADS"] == "1"
    for devices, device in ((["cuda:0"], "auto"), (None, "cuda:1")):
        with pytest.raises(ValueError, match="ray gives every worker a device of its own"):
            Workers.of(2, devices, RunConfig(device=device), there)


def test_variables_need_a_process_of_their_own():
    cpu = RunConfig(device="cpu")
    assert Workers.of(1, None, cpu).is_this_process
    assert not Workers.of(1, None, cpu, Backend(environment={"A": "1"})).is_this_process


def test_a_record_holds_no_value_of_a_variable():
    given = ["--env", "HF_TOKEN=a=b", "--env=A=secret", "--seeds", "0", "--lrs=1e-3"]
    assert _without_values(given) == [
        "--env", "HF_TOKEN=…", "--env=A=…", "--seeds", "0", "--lrs=1e-3",
    ]  # fmt: skip


class PretendedRay:
    """What the engine asks Ray for; nodes of 4 cores, 8 GB, and some GPUs."""

    def __init__(self, gpus):
        self.begun, self.options, self.ended = [], {}, 0
        self._node = {"CPU": 4.0, "memory": 8e9, **({"GPU": float(gpus)} if gpus else {})}

    def is_initialized(self):
        return False

    def init(self, *address, **options):
        self.begun.append((address, options))

    def cluster_resources(self):
        return self._node

    def nodes(self):
        return [{"Alive": alive, "Resources": self._node} for alive in (True, True, False)]

    def remote(self, **options):
        self.options = options
        return lambda function: function

    def shutdown(self):
        self.ended += 1


@pytest.mark.parametrize(("gpus", "device", "rooms"), [(0, "auto", (8, 4)), (1, "auto", (2, 2))])
def test_what_ray_is_asked_for(monkeypatch, gpus, device, rooms):
    ray = PretendedRay(gpus)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_AUTH_MODE", "")  # so that it is put back afterwards
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    workers = Workers(2, backend=Backend("ray", environment={"A": "1"}))
    engine = RayEngine(workers, RunConfig(device=device))
    # A Ray that somebody else has started on this machine is not joined unasked.
    assert ray.begun[0][0] == ("local",) and ray.begun[0][1]["num_cpus"] == 2
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert ray.options["max_retries"] == 0 and ray.options["num_gpus"] == gpus
    assert ray.options["runtime_env"]["env_vars"]["A"] == "1"
    assert (engine.room(Needs(None, 0.0)), engine.room(Needs(None, 4e9))) == rooms
    with pytest.raises(ValueError, match="no node of this Ray has .* and 80.0 GB"):
        engine.room(Needs(None, 8e10))
    engine.close()
    assert ray.ended == 1


def test_a_gpu_that_ray_has_not_is_refused(monkeypatch):
    ray = PretendedRay(0)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(Backend, "require_answer", lambda self: None)
    with pytest.raises(ValueError, match='device is "cuda", but no node of this Ray has a GPU'):
        RayEngine(Workers(None, backend=Backend("ray", "node1:6379")), RunConfig(device="cuda"))
    assert ray.begun[0][0] == ("node1:6379",) and ray.ended == 1
