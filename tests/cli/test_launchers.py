"""The command line under torchrun: two processes, one run, one answer."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pclora_lab import load_run

# Listens on this machine's loopback interface, like the processes that it starts.
LAUNCHER = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
            "--rdzv-endpoint", "localhost:0", "-m", "pclora_lab"]  # fmt: skip
SETTINGS = ["--steps", "120", "--device", "cpu", "--evaluations", "2", "--eval-images", "16"]


def start(tmp_path, *arguments):
    """Both processes; what they say goes to a file, as nobody reads a pipe meanwhile."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with (tmp_path / "said.txt").open("w") as said:
        return subprocess.Popen(
            [sys.executable, *LAUNCHER, *arguments, "--json"],
            stdout=subprocess.PIPE, stderr=said, text=True, env=environment,
        )  # fmt: skip


def ended(process, tmp_path):
    """The one line of JSON on stdout."""
    answer, _ = process.communicate(timeout=120)
    lines = [line for line in answer.splitlines() if line.startswith("{")]
    assert len(lines) == 1, (answer, (tmp_path / "said.txt").read_text()[-3000:])
    return json.loads(lines[0])


@pytest.mark.slow
def test_ctrl_c_stops_both_processes_and_resume_goes_on_in_both(tmp_path):
    root = tmp_path / "runs"
    process = start(tmp_path, "train", *SETTINGS, "--out", str(root))
    deadline = time.monotonic() + 100
    while not any(len(load_run(folder).rows) > 3 for folder in root.glob("vit*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert ended(process, tmp_path)["type"] == "Stopped"
    (folder,) = root.iterdir()
    run = load_run(folder)
    assert run.status == "stopped" and (folder / "checkpoint.safetensors").is_file()
    assert (tmp_path / "said.txt").read_text().count("stopping after this step") == 1
    result = ended(start(tmp_path, "resume", str(folder)), tmp_path)
    assert result["steps"] == 120 and result["hardware"].endswith(", 2 processes")
    assert load_run(folder).status == "finished"
    steps = [row["step"] for row in load_run(folder).rows]
    assert steps == sorted(set(steps)) and steps[-1] == 120
