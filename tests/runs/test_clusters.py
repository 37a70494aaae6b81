"""A real Ray and a real dask, with two nodes on this machine; left out where they are missing."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/benchmarks/engines.py"


def tried(backend, result, *flags):
    command = [sys.executable, str(SCRIPT), "--backend", backend, "--result", str(result), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(result.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "module"), [("ray", "ray"), ("dask", "distributed")])
def test_a_cluster_gives_the_table_of_one_process_also_when_a_worker_is_killed(
    tmp_path, backend, module
):
    pytest.importorskip(module)
    report = tried(backend, tmp_path / "result.json", "--kills", "1", "--steps", "300")
    assert report["same_as_one_process"] and report["same_after_deaths"]
    assert report["processes"] >= 2 and len(report["deaths"]) == 1
    if backend == "ray":
        assert report["refused_with_another_token"]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "module"), [("ray", "ray"), ("dask", "distributed")])
def test_an_address_where_somebody_else_listens_is_given_up(tmp_path, backend, module):
    pytest.importorskip(module)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "pclora_lab", "compare", "--methods", "svd"]
        command += ["--backend", backend, "--address", address, "--out", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=ROOT)
    said = f"no {backend} answers at {address} (nothing was heard for 20 s)"
    assert done.returncode == 2 and said in done.stderr
