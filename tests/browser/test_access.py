"""The lab for keyboards and ears: its keys, names and contrasts, in both themes."""

import re
from collections.abc import Iterator

import pytest
from accessibility import faults
from lab_page import choose_theme, lab, press, show_settings, status
from own_notebook import run_notebook
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
CELLS = (
    """from pclora_lab import RunConfig
from pclora_lab.ui.lab import Lab
lab = Lab(RunConfig(steps=12_000, evaluations=100, eval_images=60), root="runs")
lab""",
)
FOCUSABLE = """() => [...document.querySelectorAll('.pclora-lab *')]
    .filter(e => e.tabIndex >= 0 && !e.disabled && e.getClientRects().length)
    .map(e => e.textContent.trim())"""
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with run_notebook(tmp_path_factory.mktemp("access"), CELLS) as page:
        lab(page).locator(".pclora-rank-sizes table").wait_for(timeout=120_000)
        page.wait_for_timeout(1500)  # names are given twice a second
        yield page


def handle(page: Page, name: str):
    return lab(page).locator(f'.noUi-handle[aria-label="{name}"]')


def level(page: Page) -> float:
    return float(handle(page, "λ by hand").get_attribute("aria-valuetext"))


def test_nothing_is_amiss_before_a_run_and_train_is_near(page: Page) -> None:
    assert faults(page) == []
    stops = page.evaluate(FOCUSABLE)
    assert stops.index("Train") < 12


def test_the_keys_are_listed_and_not_while_a_field_is_typed_in(page: Page) -> None:
    keys = page.get_by_role("dialog", name="Keys")
    show_settings(page)
    field = lab(page).get_by_label("steps", exact=True)
    field.focus()
    page.keyboard.press("?")
    expect(keys).to_be_hidden()
    field.fill("12000")
    field.press("Tab")
    lab(page).locator(".pclora-bar").click(position={"x": 300, "y": 40})
    page.keyboard.press("?")
    expect(keys).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    lab(page).locator(".pclora-keys-button").click()
    expect(keys).to_contain_text("pause the run")
    page.keyboard.press("?")
    expect(keys).to_be_hidden()


def test_space_pauses_a_run_that_the_keyboard_began(page: Page) -> None:
    lab(page).locator("button").filter(has_text=re.compile("^Train$")).focus()
    page.keyboard.press("Enter")
    status(page, r"step \d+ of")
    # The button is gone, and the focus did not leave the lab.
    expect(lab(page).get_by_role("button", name="Pause")).to_be_focused()
    lab(page).locator(".pclora-keys-button").focus()
    page.keyboard.press("?")
    page.keyboard.press("Escape")
    page.keyboard.press("Space")
    status(page, "paused")
    expect(lab(page).locator(".pclora-spoken [role=status]")).to_have_text("paused")
    assert faults(page) == []
    page.keyboard.press("Space")
    status(page, "^fading the base: step")
    expect(lab(page).locator(".pclora-spoken [role=status]")).to_have_text("fading the base")


def test_brackets_move_lambda(page: Page) -> None:
    before = level(page)
    page.keyboard.press("[")
    expect(lab(page).locator(".pclora-hold")).to_contain_text("in your hand")
    assert before - 0.2 < level(page) < before
    held = level(page)
    page.keyboard.press("]")
    page.wait_for_timeout(500)
    assert level(page) == pytest.approx(held + 0.05, abs=0.011)
    press(page, "Give back")


def test_arrows_step_through_time(page: Page) -> None:
    lab(page).locator(".pclora-bar").click(position={"x": 300, "y": 40})
    status(page, r"step (\d{4,}|[3-9]\d\d) of")
    step = lab(page).locator(".pclora-step")
    page.keyboard.press("ArrowLeft")
    expect(lab(page).get_by_role("button", name="Newest")).not_to_have_class(re.compile("active"))
    first = int(step.inner_text().split()[1])
    page.keyboard.press("ArrowRight")
    expect(step).to_have_text(f"step {first + 60} of 12000")
    spoken = handle(page, "go back in the run")
    expect(spoken).to_have_attribute("aria-valuetext", f"step {first + 60} of 12000")
    page.keyboard.press("Shift+ArrowLeft")
    expect(step).to_have_text(f"step {max(first - 540, 0)} of 12000")


def test_a_focused_slider_keeps_its_arrows_and_the_notebook_its_keys(page: Page) -> None:
    text = lab(page).locator(".pclora-step").inner_text()
    handle(page, "λ by hand").focus()
    page.keyboard.press("ArrowLeft")
    expect(lab(page).locator(".pclora-hold")).to_contain_text("in your hand")
    assert lab(page).locator(".pclora-step").inner_text() == text
    press(page, "Give back")
    page.locator(".jp-Cell .cm-content").first.click()
    page.keyboard.press("Escape")
    page.keyboard.press("[")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(500)
    expect(lab(page).locator(".pclora-hold")).to_contain_text("by the schedule")
    assert lab(page).locator(".pclora-step").inner_text() == text


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_nothing_is_amiss_in_any_view(page: Page, theme: str) -> None:
    choose_theme(page, theme)
    show_settings(page)
    advanced = lab(page).locator(".pclora-fold-heading button").first
    if advanced.get_attribute("aria-expanded") == "false":
        advanced.click()
    for name in ("Curves", "Layers", "Examples", "What would it give?", "Runs"):
        lab(page).get_by_role("tab", name=name).click()
        page.wait_for_timeout(1500)
        assert faults(page) == [], name
