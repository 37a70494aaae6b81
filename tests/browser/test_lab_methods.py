"""Other methods and a language model in the lab: the form, the panels and the results follow."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_page import press, set_option, show_settings, status
from own_notebook import run_notebook
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
SCREENSHOTS = os.environ.get("SCREENSHOTS")
CELLS = ("from pclora_lab.ui.lab import Lab\nlab = Lab()\nlab",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("methods")


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with run_notebook(folder, CELLS) as page:
        expect(page.locator(".pclora-sizes")).to_contain_text("450,730 → 57,514", timeout=60_000)
        page.get_by_role("button", name="Advanced").click()
        yield page


def screenshot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png")


def panel_titles(page: Page) -> list[str]:
    return page.locator(".js-plotly-plot .annotation-text").all_text_contents()


def choose(page: Page, method: str) -> None:
    show_settings(page)
    page.locator(".pclora-method select").select_option(label=method)


@pytest.mark.parametrize(
    ("method", "option", "doing", "panel"),
    [
        ("PELA", "perturbation", "repairing, then fine-tuning", "Repair, then fine-tuning"),
        ("SNELLA", "sparsity", "training", "Weights that may change"),
    ],
)
def test_another_method_trains_in_the_same_lab(
    page: Page, folder: Path, method: str, option: str, doing: str, panel: str
) -> None:
    choose(page, method)
    expect(page.locator(".pclora-lab").get_by_text(option, exact=True)).to_be_visible()
    screenshot(page, f"4_{method}_chosen")
    set_option(page, "steps", "100")
    press(page, "Train")
    status(page, f"^{doing}: step")
    assert any(panel in title for title in panel_titles(page))
    status(page, "^finished", timeout=240_000)
    page.wait_for_timeout(1500)
    screenshot(page, f"4_{method}_finished")
    newest = max(folder.glob("runs/*/result.json"), key=lambda path: path.stat().st_mtime)
    result = json.loads(newest.read_text())
    assert result["method"] == method.lower() and result["accuracy"] > 0.5


def test_the_form_of_pclora_comes_back(page: Page) -> None:
    choose(page, "SNELLA")
    expect(page.locator(".pclora-lab").get_by_text("sparsity", exact=True)).to_be_visible()
    choose(page, "PC-LoRA")
    expect(page.locator(".pclora-sizes")).to_contain_text("450,730 → 57,514")


def test_the_text_default_trains_in_the_same_lab(page: Page, folder: Path) -> None:
    set_option(page, "model", "bert_glosses")
    lab = page.locator(".pclora-lab")
    expect(page.locator(".pclora-sizes")).to_contain_text("857,386 → 470,314")
    expect(lab.get_by_text("tokens", exact=True)).to_be_visible()
    set_option(page, "steps", "60")
    press(page, "Train")
    status(page, "^fading the base: step")
    status(page, "^finished", timeout=240_000)
    page.wait_for_timeout(1500)
    screenshot(page, "5_text_finished")
    expect(page.locator(".pclora-message")).to_contain_text("10: act, animal")
    newest = max(folder.glob("runs/*/result.json"), key=lambda path: path.stat().st_mtime)
    result = json.loads(newest.read_text())
    assert result["input"] == "text" and result["accuracy"] > 0.5
    press(page, "Export")
    expect(page.locator(".pclora-message")).to_contain_text("exported to")
    set_option(page, "model", "vit_digits")
    expect(page.locator(".pclora-sizes")).to_contain_text("450,730 → 57,514")
    expect(lab.get_by_text("side (px)", exact=True)).to_be_visible()
