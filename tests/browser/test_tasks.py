"""Each task in the lab: chosen first, trained with what is built in for it, and looked at again."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_page import lab, press, show_settings, status
from own_notebook import run_notebook
from playwright.sync_api import Page, expect

from pclora_lab.tasks import TASKS, Task

pytestmark = pytest.mark.browser
SCREENSHOTS = os.environ.get("SCREENSHOTS")
# Few steps of a teacher, too, where a head is new for the task.
CELLS = (
    "from pclora_lab import RunConfig\nfrom pclora_lab.ui.lab import Lab\n"
    "lab = Lab(RunConfig(steps=20, teacher_steps=20))\nlab",
)
WITH_BUILT_IN = [task for task in TASKS.values() if task.built_in]
# A kernel that trains on two cores answers late.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with run_notebook(folder, CELLS) as page:
        expect(page.locator(".pclora-sizes")).to_contain_text("450,730 → 57,514", timeout=60_000)
        yield page


def screenshot(page: Page, task: Task, what: str) -> None:
    if SCREENSHOTS:
        page.wait_for_timeout(1500)
        page.screenshot(path=f"{SCREENSHOTS}/6_{task.name}_{what}.png")


def tab(page: Page, name: str) -> None:
    lab(page).get_by_role("tab", name=name).click()


@pytest.mark.parametrize("task", WITH_BUILT_IN, ids=lambda task: task.name)
def test_a_task_is_chosen_trained_and_replayed(page: Page, folder: Path, task: Task) -> None:
    show_settings(page)
    page.locator(".pclora-task select").select_option(label=task.name)
    for name, value in zip(("model", "data"), task.built_in or (), strict=True):
        expect(page.locator(f".pclora-{name} input")).to_have_value(value)
    expect(page.locator(".pclora-data-account")).to_contain_text(f"task: {task.title}")
    screenshot(page, task, "chosen")
    press(page, "Train")
    status(page, "^(?!finished|ready)")  # no longer that of the run before
    status(page, "^finished", timeout=240_000)
    newest = max(folder.glob("runs/*/result.json"), key=lambda path: path.stat().st_mtime)
    result, metric = json.loads(newest.read_text()), task.ranking
    assert result["task"] == task.name and result[metric.key] is not None
    # The chart and the first tile speak of its metric; λ is read on the other side.
    story = lab(page).locator(".pclora-live .js-plotly-plot").first
    expect(story.locator(".gtitle")).to_contain_text(metric.heading)
    expect(story.locator(".y2tick")).to_have_text(["0", "0.5", "λ", "1"])
    expect(lab(page).locator(".pclora-tiles")).to_contain_text(f"test {metric.label}")
    screenshot(page, task, "curves")
    tab(page, "Examples")
    handle = lab(page).locator(".pclora-timeline .noUi-handle")
    handle.focus()
    handle.press("Home")
    note = lab(page).locator(".pclora-examples-note")
    expect(note).to_contain_text(re.compile(r"Step 0\b"))
    expect(lab(page).locator(".pclora-examples").locator("img, table")).not_to_have_count(0)
    expect(lab(page).locator(".pclora-problem")).to_have_text("")
    screenshot(page, task, "replayed")
    tab(page, "Curves")


def test_the_runs_of_all_tasks_stand_beside_each_other(page: Page) -> None:
    tab(page, "Runs")
    heads = page.locator(".pclora-runs th").all_text_contents()
    assert any(head.startswith("task") for head in heads)
    if SCREENSHOTS:
        page.wait_for_timeout(1500)
        page.screenshot(path=f"{SCREENSHOTS}/6_all_runs.png")
