"""The script for a class, docs/two_minutes.md: every step of it, in order, in a browser."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab_page import lab, press, show_settings, status
from own_notebook import run_notebook
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
SCRIPT = Path(__file__).parents[2] / "docs" / "two_minutes.md"
STEP = re.compile(r"^## \d+\. (.+)$", re.MULTILINE)
CELLS = ("from pclora_lab.ui import Lab\nLab()",)
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with run_notebook(tmp_path_factory.mktemp("class"), CELLS) as page:
        lab(page).locator(".pclora-views").wait_for(timeout=120_000)
        yield page


def tile(page: Page, number: int):
    return lab(page).locator(".pclora-tile").nth(number)


def tab(page: Page, name: str) -> None:
    lab(page).get_by_role("tab", name=name).click()


def show_the_layer(page: Page) -> None:
    """Show the layer"""
    tab(page, "Curves")
    expect(lab(page).locator(".pclora-presets button[aria-pressed=true]")).to_contain_text("Digits")
    expect(lab(page).locator(".pclora-layer")).to_contain_text("A · rank 8")


def make_it_smaller(page: Page) -> None:
    """Make it smaller before it is trained"""
    expect(tile(page, 1)).to_contain_text("−88.2%")
    expect(tile(page, 0)).to_contain_text("≈ 97.")
    handle = lab(page).locator(".pclora-rank .noUi-handle")
    handle.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    expect(tile(page, 1)).to_contain_text("−96.5%")
    expect(tile(page, 0)).to_contain_text("≈ 90.")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    expect(tile(page, 1)).to_contain_text("−88.2%")


def press_train(page: Page) -> None:
    """Press Train"""
    press(page, "Train")
    expect(lab(page).locator(".pclora-rail")).to_be_hidden()
    status(page, r"fading the base: step [1-9]\d of 300")


def pause(page: Page) -> None:
    """Pause where both lines are far apart"""
    page.keyboard.press("Space")
    status(page, "paused")
    page.keyboard.press("Space")
    status(page, "^fading the base")


def take_lambda(page: Page) -> None:
    """Take λ into your hand"""
    for _ in range(3):
        page.keyboard.press("[")
    expect(lab(page).locator(".pclora-hold")).to_contain_text("in your hand")
    press(page, "Give back")
    expect(lab(page).locator(".pclora-hold")).to_contain_text("by the schedule")


def wait_for_the_end(page: Page) -> None:
    """Wait for the end"""
    status(page, "^finished")
    expect(tile(page, 0)).to_contain_text("test accuracy · teacher")
    expect(tile(page, 1)).to_contain_text("of the layers, −87.2% in all")
    expect(tile(page, 2)).to_contain_text("ms for")


def go_back(page: Page) -> None:
    """Go back in time"""
    page.keyboard.press("Shift+ArrowLeft")
    expect(lab(page).locator(".pclora-step")).to_have_text("step 285 of 300")


def look_at_examples(page: Page) -> None:
    """Look at examples"""
    tab(page, "Examples")
    lab(page).get_by_role("button", name="Newest").click()
    expect(lab(page).locator(".pclora-step")).to_have_text("step 300 of 300")
    expect(lab(page).locator(".pclora-views img").first).to_be_visible()


def take_it_along(page: Page) -> None:
    """Take it along"""
    with page.expect_download() as download:
        press(page, "Download")
    assert download.value.suggested_filename.endswith(".zip")
    show_settings(page)
    press(page, "Copy as Python")
    expect(lab(page).get_by_label("Copy as Python: the text")).to_have_value(
        re.compile("import RunConfig")
    )


STEPS: tuple[Callable[[Page], None], ...] = (
    show_the_layer, make_it_smaller, press_train, pause, take_lambda, wait_for_the_end, go_back,
    look_at_examples, take_it_along,
)  # fmt: skip


def test_every_step_of_the_script_can_be_done(page: Page) -> None:
    assert STEP.findall(SCRIPT.read_text()) == [step.__doc__ for step in STEPS]
    began = time.monotonic()
    for step in STEPS:
        step(page)
    print(f"{time.monotonic() - began:.0f} s")
