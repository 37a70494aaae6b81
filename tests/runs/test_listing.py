"""A folder of many runs is listed fast, in little memory."""

import json
import shutil
import time
import tracemalloc
from pathlib import Path

from pclora_lab.runs.reader import list_runs

RUNS = 100
FINISHED = Path(__file__).parents[1] / "fixtures" / "before_rooms" / "finished"


def test_a_list_of_runs_takes_little_memory_and_time(tmp_path):
    first = tmp_path / "run"
    shutil.copytree(FINISHED, first, ignore=shutil.ignore_patterns("compressed", "snapshots"))
    # As long as that of a run of 300 steps that looks at its layers.
    row = {"phase": "fade", "layer_mse": {f"blocks.{n}.mlp.fc1": 0.123456 for n in range(12)}}
    (first / "history.jsonl").write_text((json.dumps(row) + "\n") * 130)
    for number in range(RUNS - 1):
        shutil.copytree(first, tmp_path / f"run{number}")
    tracemalloc.start()
    began = time.process_time()
    runs = list_runs(tmp_path)
    took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(runs) == RUNS and all(run.result for run in runs)
    assert peak < 60e6 * RUNS / 1000
    assert took < 3
    assert len(runs[0].rows) == 130
