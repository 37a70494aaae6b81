"""The main notebook in a real browser: every control is used as a person would."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter import CHROMIUM_OPTIONS, find_chromium, jupyter_lab
from lab_page import press, set_field, set_option, show_settings, status
from playwright.sync_api import Locator, Page, expect, sync_playwright

from pclora_lab import load_compressed
from pclora_lab.training.evaluation import test_accuracy as accuracy_on_test

pytestmark = pytest.mark.browser
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "00_start_here.ipynb"
SCREENSHOTS = os.environ.get("SCREENSHOTS")
PANEL_TRACES = {
    "fade": ("λ", "measured share of the base"),
    "accuracy": ("student as it is", "if the base were removed"),
    "loss": ("task", "feature distillation"),
    "size": ("parameters held", "time per step (median of 9)"),
}


# Also true when a cell failed, because the cells after it are then never numbered.
ALL_CELLS_ARE_DONE = """() => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];
    const done = prompts.length > 10 && prompts.every(prompt => /[0-9]/.test(prompt.textContent));
    return done || document.querySelector("[data-mime-type*='stderr'], [data-mime-type*='error']");
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(NOTEBOOK, folder)
    return folder


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[Page]:
    chromium = find_chromium()
    with jupyter_lab(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, **CHROMIUM_OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 1100})
        page.set_default_timeout(60_000)
        page.goto(address.format(notebook=NOTEBOOK.name))
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        screenshot(page, "0_opened")
        yield page
        browser.close()


@pytest.fixture(scope="module")
def ran(opened: Page) -> Page:
    """With every cell run."""
    run_all_cells(opened)
    opened.wait_for_function(ALL_CELLS_ARE_DONE, timeout=300_000)
    screenshot(opened, "0_all_ran")
    return opened


@pytest.fixture
def page(ran: Page) -> Page:
    """The same, at the lab."""
    show(ran, ".pclora-lab")
    return ran


def screenshot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png")


def run_all_cells(page: Page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


def points(page: Page) -> dict[str, int]:
    """How many points each trace of the live figure has, by its name."""
    return page.evaluate(
        "() => Object.fromEntries("
        "[...document.querySelectorAll('.pclora-live-charts .js-plotly-plot')]"
        ".flatMap(plot => plot._fullData).map(t => [t.name, t.x ? t.x.length : 0]))"
    )


def show(page: Page, selector: str) -> None:
    """Scroll to an element; JupyterLab removes cells that are out of sight from the page."""
    panel = page.locator(".jp-WindowedPanel-outer")
    for top in range(0, 12_000, 400):
        if page.locator(selector).count():
            break
        panel.evaluate("(panel, top) => { panel.scrollTop = top }", top)
        page.wait_for_timeout(200)
    page.locator(selector).first.scroll_into_view_if_needed()


def train(page: Page) -> None:
    """A run that goes on for longer than a test; one that is going is kept."""
    if "fading" not in page.locator(".pclora-status").inner_text():
        set_option(page, "steps", "3000")
        press(page, "Train")
        status(page, r"fading the base: step \d\d+ of 3000, (\d+ min )?\d+ s left")


def stop(page: Page) -> None:
    """Whatever is going."""
    button = page.locator(".pclora-lab button").filter(has_text="Stop")
    if button.is_visible():
        button.click()
        status(page, "^stopped")


def problem(page: Page) -> Locator:
    """The one field that is wrong."""
    return page.locator(".pclora-field-problem").filter(visible=True)


def test_all_cells_run_without_an_error(ran: Page) -> None:
    assert ran.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert "rror" not in " ".join(ran.locator(".jp-OutputArea-output").all_inner_texts())


def test_the_lab_shows_the_run_that_a_cell_has_trained(page: Page) -> None:
    status(page, "^finished")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.pclora-live-charts .js-plotly-plot')]"
        ".flatMap(plot => plot._fullData ?? []).find(t => t.name === 'λ')?.x?.at(-1) === 300"
    )
    assert points(page)["student as it is"] > 5
    expect(page.locator(".pclora-tiles")).to_contain_text("test accuracy")
    expect(page.locator(".pclora-hold")).to_contain_text("λ 0.00")


def test_the_sizes_follow_the_rank_slider(page: Page) -> None:
    stop(page)
    show_settings(page)
    sizes = page.locator(".pclora-sizes")
    before = sizes.inner_text()
    handle = page.locator(".pclora-rank .noUi-handle")
    handle.focus()
    for _ in range(4):
        handle.press("ArrowRight")
    expect(sizes).not_to_have_text(before)
    expect(sizes).to_contain_text("450,730 → 82,090")
    screenshot(page, "1_rank_moved")
    for _ in range(45):
        handle.press("ArrowRight")
    expect(problem(page)).to_contain_text("break-even rank 48")
    press(page, "Train")
    expect(page.locator(".pclora-message")).to_contain_text("Use a rank of at most 47")
    for _ in range(60):
        handle.press("ArrowLeft")
    for _ in range(7):
        handle.press("ArrowRight")
    expect(sizes).to_contain_text("450,730 → 57,514")


def test_curves_grow_while_another_cell_answers(page: Page) -> None:
    train(page)
    page.wait_for_timeout(4000)
    early = points(page)
    cell = page.locator(".jp-CodeCell").nth(1)
    cell.locator(".cm-content").click()
    count = cell.locator(".jp-InputPrompt").inner_text()
    page.keyboard.press("Control+Enter")
    expect(cell.locator(".jp-InputPrompt")).not_to_have_text(count, timeout=20_000)
    expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]"), timeout=20_000)
    status(page, r"fading the base")
    page.wait_for_function(
        "n => document.querySelector('.js-plotly-plot')._fullData"
        ".find(t => t.name === 'student as it is').x.length > n + 1",
        arg=early["student as it is"],
        timeout=120_000,
    )
    late = points(page)
    for panel, traces in PANEL_TRACES.items():
        assert all(late[t] > early[t] for t in traces), f"{panel}: {early} → {late}"
    show(page, ".pclora-lab")
    expect(page.locator(".pclora-lab button").filter(has_text="Train")).to_be_hidden()
    screenshot(page, "2_training")


def test_pause_resume_stop(page: Page) -> None:
    train(page)
    press(page, "Pause")
    status(page, "^paused")
    held = page.locator(".pclora-status").inner_text()
    page.wait_for_timeout(1500)
    assert page.locator(".pclora-status").inner_text() == held
    press(page, "Resume")
    status(page, "^fading")
    page.wait_for_timeout(1500)
    assert page.locator(".pclora-status").inner_text() != held
    press(page, "Stop")
    status(page, "^stopped")


def test_a_finished_run_is_exported_and_reloads(page: Page, folder: Path) -> None:
    stop(page)
    set_option(page, "steps", "120")
    press(page, "Train")
    status(page, "^finished", timeout=240_000)
    set_field(page, "to folder", "taken/along")
    press(page, "Export")
    expect(page.locator(".pclora-message")).to_contain_text("exported to")
    page.wait_for_timeout(500)
    screenshot(page, "3_finished")
    newest = max(folder.glob("runs/*/result.json"), key=lambda path: path.stat().st_mtime)
    expected = json.loads(newest.read_text())["accuracy"]
    assert accuracy_on_test(load_compressed(folder / "taken/along"), "digits") == expected


def test_an_unknown_model_is_said_in_the_lab(page: Page) -> None:
    set_option(page, "model", "vit_digit")
    expect(problem(page)).to_contain_text("did you mean vit_digits")
    set_option(page, "model", "vit_digits")
    expect(page.locator(".pclora-sizes")).to_contain_text("whole model")


def test_running_the_set_up_cell_again_finds_the_run(page: Page, folder: Path) -> None:
    train(page)
    cell = page.locator(".jp-CodeCell").nth(2)
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    page.wait_for_timeout(3000)
    status(page, "^fading the base: step")
    newest = max(folder.glob("runs/*/status.json"), key=lambda path: path.stat().st_mtime)
    assert json.loads(newest.read_text())["status"] == "running"
    press(page, "Stop")
    status(page, "^stopped")
    assert json.loads(newest.read_text())["status"] == "stopped"
