"""Runs of several tasks in one folder: each by its own metric, never in one axis."""

import json

import pytest
from denoising import Denoising

from pclora_lab.runs.reader import load_run
from pclora_lab.tasks.registry import TASKS
from pclora_lab.ui.browser.run_browser import RunBrowser
from pclora_lab.ui.browser.table_rows import tasks_of

SCORES = {
    "plain": (None, {"accuracy": 0.9}),
    "named": ("image-classification", {"accuracy": 0.8}),
    "clean": ("denoising", {"mse": 0.02, "psnr": 20.0}),
    "noisy": ("denoising", {"mse": 0.04, "psnr": 17.0}),
}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    list(TASKS)
    monkeypatch.setitem(TASKS._entries, "denoising", Denoising())


def write(root, name):
    task, scores = SCORES[name]
    folder = root / name
    folder.mkdir(parents=True)
    config = {"model": "vit_digits", "data": "digits", "method": {"name": "svd"}}
    config |= {} if task is None else {"task": task}
    result = {**scores, "method": "svd", "params_after": 1000 * len(name)}
    result |= {} if task is None else {"task": task}
    for file, facts in (("config", config), ("result", result), ("status", STATUS)):
        (folder / f"{file}.json").write_text(json.dumps(facts))
    row = {"phase": "fade", "step": 1, "loss": 0.5, **scores}
    (folder / "history.jsonl").write_text(json.dumps(row) + "\n")


STATUS = {"status": "finished"}


def shown(browser):
    return [column["label"] for column in browser.table.columns]


def test_the_list_has_a_column_for_each_metric_and_says_the_task_of_each_run(tmp_path):
    browser = RunBrowser(tmp_path)
    assert "accuracy" in shown(browser) and not {"task", "MSE", "mIoU"} & set(shown(browser))
    for name in ("plain", "named"):
        write(tmp_path, name)
    browser.refresh()
    assert "task" not in shown(browser)
    for name in ("clean", "noisy"):
        write(tmp_path, name)
    browser.refresh()
    assert {"task", "accuracy", "MSE"} <= set(shown(browser)) and "mIoU" not in shown(browser)
    rows = {row["name"]: row for row in browser.table.rows}
    told = {name: (row["task"], row["accuracy"], row["mse"]) for name, row in rows.items()}
    assert told == {
        "plain": ("classification", 90.0, None), "named": ("classification", 80.0, None),
        "clean": ("denoising", None, 0.02), "noisy": ("denoising", None, 0.04),
    }  # fmt: skip


def test_a_task_that_is_not_installed_has_no_column(tmp_path, monkeypatch):
    write(tmp_path, "clean")
    monkeypatch.delitem(TASKS._entries, "denoising")
    assert [task.name for task in tasks_of([load_run(tmp_path / "clean")])] == [
        "image-classification"
    ]


def test_points_of_one_task_stand_in_one_plot_and_the_lowest_error_is_best(tmp_path):
    for name in SCORES:
        write(tmp_path, name)
    browser = RunBrowser(tmp_path)
    pareto = browser.pareto
    pareto.button.value = True
    assert set(pareto.group.options) == {"vit_digits on digits", "vit_digits on digits, denoising"}
    found = {}
    for group in pareto.group.options:
        pareto.group.value = group
        figure = pareto.chart.figure
        named = {name for t in figure.data[1:] if t.customdata for name in t.customdata}
        found[group] = figure.layout.yaxis.title.text, named, list(figure.data[0].y)
    assert found["vit_digits on digits"][:2] == ("top-1 accuracy (%)", {"plain", "named"})
    assert found["vit_digits on digits, denoising"] == ("MSE", {"clean", "noisy"}, [0.02])


def test_runs_of_two_tasks_over_each_other_say_what_is_left_out(tmp_path):
    for name in SCORES:
        write(tmp_path, name)
    browser = RunBrowser(tmp_path)
    browser.table.selected = ["clean", "plain", "named"]
    browser.draw_overlay()
    title = browser.overlays.chart.figure.layout.title.text
    assert title == "2 runs of other tasks are left out where the MSE is drawn"
    drawn = [t for t in browser.overlays.chart.figure.data if t.meta == "student as it is"]
    assert [[y for y in t.y if y is not None] for t in drawn[:3]] == [[0.02], [], []]
