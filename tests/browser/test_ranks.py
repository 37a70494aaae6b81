"""The panel of ranks in a real browser: by keyboard, in light and dark."""

import os
import re
from collections.abc import Iterator

import pytest
from jupyter import themes
from own_notebook import run_notebook
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
SCREENSHOTS = os.environ.get("SCREENSHOTS")
CELLS = (
    """from dataclasses import replace

from IPython.display import display
from ipywidgets import HTML, VBox

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.training.config import RunConfig
from pclora_lab.nn.counting import LayerCount, count_model
from pclora_lab.nn.sizes import plan
from pclora_lab.models.loading import describe_model
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.json_files import write_json
from pclora_lab.ui.ranks.panel import RankPanel
from pclora_lab.ui.widgets.rank_table import RankTable

model = describe_model("vit_digits", num_classes=10)
counts = count_model(model)
# Of settings that no run has which comes with the package.
method = PCLoRAConfig(alpha=0.3)
for rank, accuracies in ((4, (0.91, 0.95)), (16, (0.97, 0.98)), (32, (0.985,))):
    for seed, accuracy in enumerate(accuracies):
        folder = new_run_folder("runs", RunConfig(method=replace(method, rank=rank), seed=seed))
        params = plan(counts, rank).whole_model.params_after
        write_json(folder / "result.json", {"accuracy": accuracy, "params_after": params})
        write_json(folder / "status.json", {"status": "finished", "error": None})

said = HTML()
said.add_class("said")
panel = RankPanel("runs", on_ranks=lambda ranks: setattr(said, "value", str(ranks)))
panel.show(counts, model, RunConfig(method=replace(method, rank=8)))""",
    "VBox([panel.widget, said])",
    """bold = RankTable()
bold.add_class("bold")
bold.set_layers((LayerCount("<b>fc</b>", 64, 64, True, 1, 4),), {"<b>fc</b>": 2})
bold""",
)


@pytest.fixture(scope="module", params=themes("light"))
def theme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def page(theme: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with run_notebook(tmp_path_factory.mktemp(theme), CELLS, dark=theme == "dark") as page:
        page.wait_for_selector(".pclora-rank-panel .pclora-ranks input")
        page.wait_for_selector(".bold input")
        page.locator(".pclora-rank-panel").scroll_into_view_if_needed()
        yield page


def screenshot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/ranks_{name}.png")


def press(page: Page, name: str) -> None:
    page.locator(".pclora-rank-panel").locator("button").filter(has_text=name).click()


def test_the_panel_says_what_the_rank_gives(page: Page, theme: str) -> None:
    is_light = page.evaluate("() => document.body.dataset.jpThemeLight")
    assert is_light == {"light": "true", "dark": "false"}[theme]
    expect(page.locator(".pclora-rank-sizes")).to_contain_text("450,730 → 57,514")
    expect(page.locator(".pclora-rank-accuracy")).to_contain_text("between rank 4 (2 seeds)")
    assert page.locator(".pclora-rank-picture circle").count() == 4
    screenshot(page, f"{theme}_0_opened")


def test_it_fits_the_page(page: Page) -> None:
    panel = page.locator(".pclora-rank-panel")
    wide = panel.evaluate("panel => [panel.scrollWidth, panel.clientWidth]")
    assert wide[0] <= wide[1]


def test_a_rank_is_edited_with_the_keyboard_alone(page: Page) -> None:
    page.locator(".pclora-rank-panel .pclora-ranks .pclora-table-scroll").focus()
    page.keyboard.press("Tab")
    first = page.locator(":focus")
    assert first.get_attribute("aria-label").startswith("rank of blocks.0.attn.qkv")
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    expect(first).to_have_value("11")
    expect(page.locator(".pclora-rank-note")).to_contain_text("58,666 parameters in all")
    page.keyboard.press("Tab")
    assert "blocks.0.attn.proj" in page.locator(":focus").get_attribute("aria-label")
    share = page.locator(".pclora-rank-panel .pclora-ranks tbody tr").first.locator("td").last
    expect(share).to_have_text(re.compile(r"16\.2%"))


def test_a_rank_that_would_not_shrink_stays_in_the_browser(page: Page, theme: str) -> None:
    note = page.locator(".pclora-rank-note").inner_text()
    second = page.locator(".pclora-rank-panel .pclora-ranks input").nth(1)
    second.fill("99")
    second.press("Enter")
    alert = page.locator(".pclora-rank-panel .pclora-table-alert")
    expect(alert).to_contain_text("blocks.0.attn.proj: rank 99 can't be used")
    expect(second).to_have_attribute("aria-invalid", "true")
    screenshot(page, f"{theme}_1_refused")
    assert page.locator(".pclora-rank-note").inner_text() == note
    second.fill("7")
    second.press("Enter")
    expect(alert).to_have_text("")
    expect(page.locator(".pclora-rank-note")).not_to_have_text(note)


def test_latency_is_measured_on_a_click(page: Page, theme: str) -> None:
    press(page, "Measure latency")
    latency = page.locator(".pclora-rank-latency")
    expect(latency).to_contain_text(re.compile(r"median of \d+ turns.*batch size 1, cpu"))
    screenshot(page, f"{theme}_2_measured")


def test_a_budget_is_spent_by_energy(page: Page, theme: str) -> None:
    page.locator(".pclora-rank-panel select").select_option("energy")
    press(page, "From a budget")
    expect(page.locator(".pclora-rank-note")).to_contain_text("these ranks keep 10.0%")
    inputs = page.locator(".pclora-rank-panel .pclora-ranks input")
    values = inputs.evaluate_all("all => all.map(input => input.value)")
    assert len(values) == 16 and len(set(values)) > 2
    screenshot(page, f"{theme}_3_energy")


def test_the_ranks_are_used_and_taken_back(page: Page) -> None:
    press(page, "Use these ranks")
    expect(page.locator(".said")).to_contain_text("'blocks.0.attn.qkv': ")
    press(page, "One rank for all")
    expect(page.locator(".said")).to_have_text("None")


def test_names_of_layers_are_text(page: Page) -> None:
    cell = page.locator(".bold tbody td").first
    assert cell.inner_text() == "<b>fc</b>" and page.locator(".bold b").count() == 0
