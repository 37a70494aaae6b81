"""``docs/tasks.md``: its table is the registry's, and its task does what the text says."""

import re
from pathlib import Path

import pytest
from marked import MarkedCache, marked_digits

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.runs.execution import execute
from pclora_lab.tasks.registry import BUILT_IN, TASKS
from pclora_lab.tasks.task_checks import check_task
from pclora_lab.training.config import RunConfig

TEXT = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()
ROWS = {
    cells[0].strip("`"): cells
    for line in TEXT.splitlines()
    if line.startswith("| `")
    for cells in [[cell.strip() for cell in line.strip("|").split(" | ")]]
}


@pytest.mark.parametrize("task", BUILT_IN, ids=lambda task: task.name)
def test_every_task_has_a_row_with_its_metrics_and_what_is_built_in(task):
    assert task.name in ROWS, f"docs/tasks.md: add a row for {task.name}"
    _, _, _, metrics, built_in = ROWS[task.name]
    first = metrics.split(", ")[0]
    assert task.ranking.label in first
    assert ("(lower is better)" in first) == (task.ranking.better == "lower")
    if task.built_in is not None:
        assert re.findall(r"`([^`]+)`", built_in) == list(task.built_in)


def test_nothing_is_listed_that_is_not_there():
    assert set(ROWS) <= set(TASKS)


def test_the_task_of_the_text_trains(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    space = {}
    exec(code, space)
    list(TASKS)
    task = check_task("denoising", space["Denoising"])
    monkeypatch.setitem(TASKS._entries, "denoising", task)
    config = RunConfig(
        task="denoising", steps=2, teacher_steps=2, batch_size=8, evaluations=1, eval_images=16,
        method=PCLoRAConfig(rank=2), device="cpu", layer_metrics=False, snapshots=0,
    )  # fmt: skip
    cache = MarkedCache(marked_digits(train=32, validation=16, test=16))
    *_, end = execute(config, tmp_path, cache=cache)
    assert 0 < end.result["mse"] < 100 and end.result["task"] == "denoising"
