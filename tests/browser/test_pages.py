"""One kernel and several pages: two tabs, a closed tab, a kernel that begins anew in any phase."""

from collections.abc import Iterator

import pytest
from lab_page import lab, press, restart_kernel, run_cell, status
from own_notebook import run_notebook
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
CELLS = (
    """from pclora_lab import PCLoRAConfig, RunConfig
from pclora_lab.ui.lab import Lab
method = PCLoRAConfig(fade_end=0.1, init="zeros")
lab = Lab(
    RunConfig(method=method, steps=2500, teacher="finetune", teacher_steps=150, eval_images=60),
    root="runs",
)
lab""",
)
CURVES = """() => [...document.querySelectorAll('.pclora-lab .js-plotly-plot')]
    .some(chart => chart._fullData?.some(trace => trace.x?.length > 1))"""
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with run_notebook(tmp_path_factory.mktemp("pages"), CELLS) as page:
        lab(page).locator(".pclora-views").wait_for(timeout=120_000)
        yield page


def second_tab(page: Page) -> Page:
    """The same notebook, as it was saved, in another tab of the browser."""
    page.keyboard.press("Control+s")
    expect(page.locator(".jp-NotebookPanel-toolbar")).to_be_visible()
    page.wait_for_timeout(1000)
    other = page.context.new_page()
    other.set_default_timeout(60_000)
    other.goto(page.url)
    other.wait_for_selector(".jp-Notebook .jp-CodeCell")
    lab(other).locator(".pclora-views").wait_for(timeout=60_000)
    return other


def step(page: Page) -> str:
    return lab(page).locator(".pclora-status").inner_text()


def is_alive(page: Page) -> None:
    """Its curves are drawn and its line goes on."""
    page.wait_for_function(CURVES)
    before = step(page)
    expect(lab(page).locator(".pclora-status")).not_to_have_text(before)


PHASES = ("fine-tuning the teacher", "fading the base", "training without the base")


@pytest.mark.parametrize("phase", PHASES)
def test_a_new_kernel_finds_the_run_in_each_phase(page: Page, phase: str) -> None:
    resumes = lab(page).get_by_role("button", name="Resume")
    press(page, "Resume" if resumes.is_visible() else "Train")
    status(page, rf"{phase}.*: step \d+ of")
    page.wait_for_timeout(1500)
    restart_kernel(page)
    run_cell(page, 0)
    status(page, r"shown: vit_digits-.*Resume goes on with it")
    expect(lab(page).get_by_role("button", name="Resume")).to_be_enabled()


def test_two_tabs_show_the_same_run_and_either_may_close(page: Page) -> None:
    press(page, "Resume")
    status(page, r"step \d+ of")
    other = second_tab(page)
    is_alive(other)
    is_alive(page)
    # Its cell run again makes a new lab, which stands in both.
    run_cell(other, 0)
    is_alive(other)
    is_alive(page)
    lab(other).get_by_role("tab", name="Layers").click()
    expect(lab(page).get_by_role("tab", name="Layers")).to_have_attribute("aria-selected", "true")
    other.close()
    is_alive(page)


def test_a_run_outlives_its_page(page: Page) -> None:
    address = page.url
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1000)
    other = page.context.new_page()
    page.goto("about:blank")
    other.goto(address)
    other.wait_for_selector(".jp-Notebook .jp-CodeCell")
    status(other, r"step \d+ of")
    is_alive(other)
