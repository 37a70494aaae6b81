"""The form in a real browser: by keyboard, in the narrowest rail, in light and dark."""

import os
import re
from collections.abc import Iterator

import pytest
from jupyter import themes
from own_notebook import run_notebook
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser
SCREENSHOTS = os.environ.get("SCREENSHOTS")
CELLS = (
    """import ipywidgets as widgets
from pclora_lab.data.cache import DataCache
from pclora_lab.ui.settings.form import Controls
from pclora_lab.ui.widgets.page import Page

controls = Controls(cache=DataCache())
rail = widgets.Box([controls.widget], layout=widgets.Layout(width="262px", display="block"))
lab = widgets.VBox([Page(), rail])
lab.add_class("pclora-lab")
lab""",
)
# What is wider than its place, apart from texts that are typed.
CLIPPED = """form => [...form.querySelectorAll('*')].filter(e =>
    e.offsetParent && !/INPUT|TEXTAREA|SELECT/.test(e.tagName) && e.clientWidth
    && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible'
).map(e => e.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module", params=themes("light"))
def theme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def page(theme: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with run_notebook(tmp_path_factory.mktemp(theme), CELLS, dark=theme == "dark") as page:
        expect(page.locator(".pclora-data-account")).to_contain_text("1,797 used", timeout=60_000)
        yield page


def form(page: Page) -> Locator:
    return page.locator(".pclora-form")


def preset(page: Page, name: str) -> Locator:
    return form(page).locator(".pclora-presets button").filter(has_text=re.compile(f"^{name}"))


def fill(page: Page, css: str, text: str) -> None:
    field = form(page).locator(f"{css} input").first
    field.fill(text)
    field.press("Enter")


def test_presets_are_one_stop_and_arrows_lead_from_one_to_the_next(page: Page) -> None:
    expect(preset(page, "Digits")).to_have_attribute("aria-pressed", "true")
    expect(preset(page, "CIFAR-10")).to_be_disabled()
    expect(preset(page, "CIFAR-10")).to_contain_text("huggingface.co can't be reached")
    assert form(page).locator(".pclora-presets button[tabindex='0']").count() == 1
    preset(page, "Digits").focus()
    page.keyboard.press("ArrowRight")  # past what can't be pressed
    expect(preset(page, "Text")).to_be_focused()
    page.keyboard.press("Enter")
    expect(form(page).locator(".pclora-model input")).to_have_value("bert_glosses")
    expect(preset(page, "Text")).to_have_attribute("aria-pressed", "true")
    fill(page, ".pclora-steps", "50")
    expect(preset(page, "Text")).to_have_attribute("aria-pressed", "false")


def test_your_data_leads_to_the_field(page: Page) -> None:
    preset(page, "Your data").click()
    field = form(page).locator(".pclora-data input").first
    expect(field).to_be_focused()
    expect(field).to_have_value("")
    expect(form(page).locator(".pclora-data-account")).to_contain_text("name a folder, a table")
    preset(page, "Digits").click()
    expect(field).to_have_value("digits")


def test_an_error_stands_at_its_field_and_goes(page: Page, theme: str) -> None:
    wrong = form(page).locator(".pclora-field.pclora-bad")
    fill(page, ".pclora-model", "vit_digitz")
    expect(wrong.get_by_role("alert")).to_contain_text("did you mean vit_digits")
    fill(page, ".pclora-model", "vit_digits")
    expect(wrong).to_have_count(0)
    handle = form(page).locator(".pclora-rank .noUi-handle").first
    handle.focus()
    handle.press("End")
    expect(wrong.get_by_role("alert")).to_contain_text("Use a rank of at most 47")
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/form_wrong_{theme}.png")
    preset(page, "Digits").click()
    expect(wrong).to_have_count(0)


def test_the_size_is_given_in_one_way(page: Page) -> None:
    ways = form(page).locator(".pclora-size-by button")
    ways.filter(has_text="budget").click()
    expect(form(page).locator(".pclora-budget")).to_be_visible()
    expect(form(page).locator(".pclora-rank")).to_be_hidden()
    expect(form(page).locator(".pclora-sizes")).to_contain_text("445,824 → 40,320")
    ways.filter(has_text="layer").click()
    expect(form(page).locator(".pclora-ranks-note")).to_contain_text("16 layers, rank 8 to 8")
    ways.filter(has_text="rank").click()
    expect(form(page).locator(".pclora-rank")).to_be_visible()


def test_advanced_opens_by_keyboard_and_nothing_is_clipped(page: Page, theme: str) -> None:
    heading = form(page).get_by_role("button", name="Advanced")
    expect(heading).to_have_attribute("aria-expanded", "false")
    expect(form(page).locator(".pclora-lr")).to_be_hidden()
    assert form(page).evaluate(CLIPPED) == []
    heading.focus()
    page.keyboard.press("Enter")
    expect(heading).to_have_attribute("aria-expanded", "true")
    expect(form(page).locator(".pclora-lr")).to_be_visible()
    options = form(page).locator(".pclora-method select option").all_text_contents()
    for method in [*options, "PC-LoRA"]:
        form(page).locator(".pclora-method select").select_option(label=method)
        page.wait_for_timeout(700)
        assert form(page).evaluate(CLIPPED) == [], method
    titles = form(page).evaluate(
        "e => [...e.querySelectorAll('[title=null]')].map(t => t.outerHTML.slice(0, 120))"
    )
    assert titles == []
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/form_advanced_{theme}.png")


def test_the_script_is_shown_and_can_only_be_read(page: Page) -> None:
    preset(page, "Digits").click()
    fill(page, ".pclora-steps", "50")
    form(page).get_by_role("button", name="Copy as Python").click()
    area = form(page).locator(".pclora-copy textarea")
    expect(area).to_have_value(re.compile(r"config = RunConfig\(steps=50\)"))
    expect(area).to_have_attribute("readonly", "")
    fill(page, ".pclora-steps", "60")
    expect(area).to_be_hidden()
