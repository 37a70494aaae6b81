"""Several processes that start the same run in one folder of runs and need one teacher."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROCESSES = 4
# Everything is imported once; each child is a process of its own before torch has computed.
WORK = f"""
import os, sys
from pclora_lab.runs.execution import execute
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import StepEnd

config = RunConfig(
    steps=1, evaluations=1, eval_images=8, batch_size=8, teacher="finetune", teacher_steps=2,
    snapshots=0, layer_metrics=False, device="cpu",
)
children = []
for _ in range({PROCESSES}):
    if (child := os.fork()) == 0:
        events = execute(config, sys.argv[1])
        tuned = sum(isinstance(event, StepEnd) and event.phase == "teacher" for event in events)
        os.write(1, b"%d\\n" % tuned)
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.mark.slow
def test_processes_at_once_fine_tune_one_teacher_and_none_fails(tmp_path):
    command = [sys.executable, "-W", "error::UserWarning", "-c", WORK, str(tmp_path)]
    # Threads of a pool that was made before would be missing in a child.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert sorted(map(int, done.stdout.split())) == [0] * (PROCESSES - 1) + [2]
    runs = [path for path in tmp_path.iterdir() if path.name != "teachers"]
    ended = [json.loads((run / "status.json").read_text())["status"] for run in runs]
    assert ended == ["finished"] * PROCESSES
    assert len([path for path in (tmp_path / "teachers").iterdir() if path.is_dir()]) == 1
