"""Does a comparison on Ray or dask give the table of one process, also when its workers are killed?

    python tests/benchmarks/engines.py --backend ray --result data/results/ray.json

Two workers on this machine, on 127.0.0.1, Ray with a token. The same grid is run in this process
(one thread), by the two workers, and by two workers of which some are killed with ``SIGKILL`` after
their run has left a checkpoint.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from pclora_lab.json_files import read_json, write_json
from pclora_lab.machine import processor
from pclora_lab.runs.checkpoints import load_checkpoint
from pclora_lab.runs.comparison import Comparison
from pclora_lab.training.config import RunConfig

MEASURED = {"seconds", "peak_memory_mb", "latency_ms_before", "latency_ms_after"}
SEED = 0
# What the processes of an engine say when they are ready.
READY = {"ray": ("Ray runtime started",), "dask": ("Scheduler at", "Starting established")}
PACKAGES = {"ray": ("ray",), "dask": ("dask", "distributed")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=list(PACKAGES), required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    base = RunConfig(steps=args.steps, evaluations=2, eval_images=100, device="cpu", seed=SEED)
    grid = {"methods": ("pclora", "svd"), "budgets": (0.2,), "seeds": (SEED, SEED + 1)}
    with tempfile.TemporaryDirectory() as folder, two_workers(args.backend) as address:
        root, there = Path(folder), {"backend": args.backend, "address": address, "workers": 2}
        refused = {"refused_with_another_token": is_refused(root, address)}
        alone, _ = run(Comparison(base, **grid, out=root / "alone"), 0)
        engine, _ = run(Comparison(base, **grid, out=root / "engine", **there), 0)
        killed, deaths = run(Comparison(base, **grid, out=root / "killed", **there), args.kills)
        pids = {who(path) for path in root.glob("engine/cells/*/status.json")}
    report = {
        "command": " ".join(["python", "tests/benchmarks/engines.py", *shown(sys.argv[1:])]),
        "seed": SEED,
        "hardware": f"{processor()}, two workers of 1 thread",
        "versions": {name: version(name) for name in ("torch", *PACKAGES[args.backend])},
        "grid": {name: list(values) for name, values in grid.items()} | {"steps": args.steps},
        **(refused if args.backend == "ray" else {}),
        "processes": len(pids),
        "rates": alone["rates"],
        "trials": len(alone["trials"]),
        "same_as_one_process": engine == alone,
        "deaths": deaths,
        "same_after_deaths": killed == alone,
        "rows": killed["rows"],
    }
    if args.result:
        write_json(args.result, report, missing_as_null=True)
    print(json.dumps(report))


def run(comparison: Comparison, kills: int) -> tuple[dict, list[dict]]:
    """What has to be equal; on the way workers are killed, past their run's first checkpoint."""
    deaths: list[dict] = []
    for _ in comparison.run():
        if len(deaths) < kills:
            deaths += kill_one(comparison.out, {death["pid"] for death in deaths})
    rows = [{k: v for k, v in row.items() if k not in MEASURED} for row in comparison.rows()]
    if failed := [row for row in rows if row["error"]]:
        raise RuntimeError(f"these have failed: {failed}")
    equal = {"rows": rows, "trials": comparison.tuning, "rates": comparison.search.chosen}
    return equal, [{k: v for k, v in death.items() if k != "pid"} for death in deaths]


def kill_one(out: Path, dead: set[int]) -> list[dict]:
    """Kill a worker that has not been killed before, if one is past its run's first checkpoint."""
    for cell in sorted(out.glob("cells/*")):
        with contextlib.suppress(OSError, ValueError):
            status = read_json(cell / "status.json") or {}
            pid = status.get("pid")
            if status.get("status") != "running" or pid in dead or pid == os.getpid():
                continue
            if (checkpoint := load_checkpoint(cell)) is None:
                continue
            last = json.loads((cell / "history.jsonl").read_text().splitlines()[-1])
            os.kill(pid, signal.SIGKILL)
            steps = {"checkpoint_step": checkpoint.step, "last_row_step": last["step"]}
            return [{"cell": cell.name, **steps, "pid": pid}]
    return []


def who(path: Path) -> tuple:
    """A process, as it stands in the status of a run."""
    status = read_json(path) or {}
    return status["host"], status["pid"]


def shown(arguments: list[str]) -> list[str]:
    """Of a path its last parts, as it is given from the repository's root."""
    return [os.path.relpath(a) if os.path.isabs(a) else a for a in arguments]


@contextlib.contextmanager
def two_workers(backend: str) -> Iterator[str]:
    """A cluster on 127.0.0.1; yields its address."""
    port = free_port()
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "token"}
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    commands = {"ray": ray_commands, "dask": dask_commands}[backend](port)
    with contextlib.ExitStack() as stack:
        for command in commands:
            stack.enter_context(running(command, READY[backend]))
        yield f"127.0.0.1:{port}"


def ray_commands(port: int) -> list[list[str]]:
    # Ray takes 127.0.0.1 for an address that others can't reach, and another one instead, unless
    # it is told that there will be no other node. So both workers are of the head.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    start = [os.path.join(os.path.dirname(sys.executable), "ray"), "start", "--head", "--block"]
    flags = ["--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2"]
    return [[*start, *flags, "--include-dashboard=false", "--disable-usage-stats"]]


def dask_commands(port: int) -> list[list[str]]:
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host=127.0.0.1", f"--port={port}", "--no-dashboard"]
    worker = [*dask, "worker", f"127.0.0.1:{port}", "--nworkers=1", "--nthreads=1"]
    return [scheduler, *([[*worker, "--host=127.0.0.1", "--no-dashboard"]] * 2)]


@contextlib.contextmanager
def running(command: list[str], ready: tuple[str, ...], seconds: float = 120.0) -> Iterator[None]:
    """Inside, a process runs and is ready; then it ends with all that it has started."""
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until = time.monotonic() + seconds
            while not any(text in Path(log.name).read_text() for text in ready):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{command} did not start: {Path(log.name).read_text()}")
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def is_refused(root: Path, address: str) -> bool:
    """Whether somebody with another token is turned away."""
    command = [sys.executable, "-m", "pclora_lab", "compare", "--backend", "ray"]
    command += ["--address", address, "--methods", "svd", "--out", str(root / "refused")]
    done = subprocess.run(
        command,
        env={**os.environ, "RAY_AUTH_TOKEN": secrets.token_hex(32)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode == 2 and not list(root.glob("refused/cells/*"))


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()
