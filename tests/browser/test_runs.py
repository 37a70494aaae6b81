"""Table and run browser in JupyterLab, light and dark, with keyboard and mouse."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter import CHROMIUM_OPTIONS, find_chromium, jupyter_lab, themes
from made_runs import RANKS, break_some, make_runs
from playwright.sync_api import Locator, Page, expect, sync_playwright

pytestmark = pytest.mark.browser
SCREENSHOTS = os.environ.get("SCREENSHOTS")
HTML = list(RANKS)[2]
CELLS = (
    """import ipywidgets
from pclora_lab.ui.browser.run_browser import RunBrowser
told = ipywidgets.Label("nothing yet")
told.add_class("told")
def tell(verb):
    return lambda what: setattr(told, "value", f"{verb} {getattr(what, 'folder', what)}")
browser = RunBrowser("runs", on_open=tell("opened"), on_again=tell("again"),
                     busy=lambda folder: folder.name == "odd_values")
ipywidgets.VBox([browser.widget, told])""",
    """import threading, time
from pclora_lab.ui.widgets.table import Table
columns = [{"name": "what", "label": "what"},
           {"name": "rank", "label": "rank", "kind": "number", "editable_to": "most"}]
table = Table(columns, [{"id": str(i), "what": f"row {i}", "rank": i + 1, "most": 40}
                        for i in range(30)])
def tell_rank(change):
    before, now = (rows[2]["rank"] for rows in (change["old"], change["new"]))
    if now != before:
        told.value = f"rank {now}"
table.observe(tell_rank, "rows")
table.label, table.height = "things", "120px"
def tick():
    for n in range(10_000):
        time.sleep(0.3)
        table.rows = [*table.rows[:-1], {**table.rows[-1], "what": f"tick {n}"}]
threading.Thread(target=tick, daemon=True).start()
table""",
    """many = Table([{"name": "n", "label": "n", "kind": "number", "unit": "pieces"}],
             [{"id": str(i), "n": i} for i in range(700)], label="many", height="90px")
many""",
)


@pytest.fixture(scope="module", params=themes("dark"))
def theme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, theme: str) -> Path:
    folder = tmp_path_factory.mktemp(theme)
    break_some(_made(folder / "runs"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, folder / "runs.ipynb")
    return folder


def _made(root: Path) -> Path:
    make_runs(root)
    return root


@pytest.fixture(scope="module")
def page(folder: Path, theme: str) -> Iterator[Page]:
    chromium, dark = find_chromium(), theme == "dark"
    with jupyter_lab(folder, dark) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, **CHROMIUM_OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 1500})
        page.set_default_timeout(60_000)
        page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
        page.goto(address.format(notebook="runs.ipynb"))
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.locator(".pclora-runs table").wait_for(timeout=120_000)
        page.locator("table[aria-label=things]").wait_for(timeout=120_000)
        yield page
        browser.close()


def screenshot(page: Page, name: str, theme: str) -> None:
    if SCREENSHOTS:
        page.wait_for_timeout(800)
        page.screenshot(path=f"{SCREENSHOTS}/runs_{name}_{theme}.png")


def runs(page: Page) -> Locator:
    return page.locator(".pclora-runs")


def line(page: Page, name: str) -> Locator:
    cell = page.get_by_role("gridcell", name=name, exact=True)
    return runs(page).locator("tbody tr").filter(has=cell)


def names(page: Page) -> list[str]:
    return runs(page).locator("tbody td[data-column=name]").all_text_contents()


def press(page: Page, name: str) -> None:
    runs(page).locator("button").filter(has_text=re.compile(f"^{name}$")).click()


def count(page: Page, words: str) -> None:
    expect(runs(page).locator(".pclora-table-count")).to_have_text(words)


def filtered(page: Page, words: str) -> None:
    runs(page).get_by_role("searchbox", name="filter runs").fill(words)


def told(page: Page) -> Locator:
    return page.locator(".told")


def message(page: Page) -> Locator:
    return runs(page).locator(".pclora-runs-message")


def test_names_and_reasons_are_shown_as_text(page: Page, theme: str) -> None:
    assert HTML in names(page) and page.locator(".pclora-runs img").count() == 0
    expect(line(page, "broken")).to_contain_text("config.json can't be read")
    count(page, "7 of 7")
    screenshot(page, "0_opened", theme)


def test_sort_by_click_and_by_enter(page: Page) -> None:
    header = runs(page).get_by_role("columnheader", name="size")
    button = header.get_by_role("button")
    expect(header).to_have_attribute("aria-sort", "none")
    button.click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert [n for n in names(page) if n in RANKS] == list(RANKS), "rank 10 stands after rank 6"
    assert set(names(page)[-3:]) == {"broken", "loop", "odd_values"}, "what is missing stands last"
    button.press("Enter")
    expect(header).to_have_attribute("aria-sort", "descending")
    assert [n for n in names(page)[:4] if n in RANKS] == list(reversed(RANKS))
    expect(runs(page).get_by_role("columnheader", name="seed")).to_have_attribute(
        "aria-sort", "none"
    )


def test_order_and_filter_survive_new_rows(page: Page) -> None:
    header = runs(page).get_by_role("columnheader", name="size")
    for _ in range(3):
        if header.get_attribute("aria-sort") != "descending":
            header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "descending")
    filtered(page, "PCLORA  finished")
    count(page, "3 of 7")
    press(page, "Refresh")
    page.wait_for_timeout(500)
    count(page, "3 of 7")
    assert names(page) == list(reversed(RANKS))
    filtered(page, "no such run")
    count(page, "0 of 7")
    filtered(page, "")
    count(page, "7 of 7")


def test_select_and_overlay(page: Page, theme: str) -> None:
    for name in ("rank6", HTML):
        line(page, name).get_by_role("checkbox", name=f"select {name}").check()
    count(page, "7 of 7, 2 selected")
    filtered(page, "rank6")
    count(page, "1 of 7, 2 selected (1 hidden by the filter)")
    filtered(page, "")
    press(page, "Overlay")
    legend = runs(page).locator(".legendtext")
    expect(legend).to_have_count(2, timeout=30_000)
    assert set(legend.all_text_contents()) == {"rank6", HTML}
    figure = runs(page).locator(".js-plotly-plot").element_handle()
    screenshot(page, "1_overlay", theme)
    table = runs(page).get_by_role("button", name="Table: curves of the selected runs")
    table.click()
    accuracy = runs(page).get_by_role("table", name="Accuracy (validation): top-1 accuracy")
    heads = accuracy.get_by_role("columnheader").all_inner_texts()
    assert heads[:2] == ["step", "rank6, student as it is"] and f"{HTML}, " in " ".join(heads)
    assert re.fullmatch(r"\d+\.\d%", accuracy.locator("tr:last-child td").first.inner_text())
    table.click()
    line(page, "rank6").get_by_role("checkbox").uncheck()
    line(page, "rank2").get_by_role("checkbox").check()
    press(page, "Overlay")
    expect(legend.first).not_to_have_text("rank6", timeout=30_000)
    expect(legend).to_have_count(2)
    assert set(legend.all_text_contents()) == {"rank2", HTML}
    now = runs(page).locator(".js-plotly-plot").element_handle()
    assert page.evaluate("([a, b]) => a === b", [figure, now]), "the figure was made anew"


def test_a_button_acts_on_what_was_selected_a_moment_before(page: Page) -> None:
    runs(page).evaluate(
        """(root, names) => {
          const box = (name) => root.querySelector(`input[aria-label="select ${name}"]`);
          for (const name of names) box(name).click();
          const buttons = [...root.querySelectorAll("button")];
          buttons.find((button) => button.innerText.trim() === "Overlay").click();
        }""",
        ["rank6", "rank2", "rank6"],
    )
    legend = runs(page).locator(".legendtext")
    expect(legend).to_have_text([HTML])
    line(page, "rank2").get_by_role("checkbox").check()
    press(page, "Overlay")
    expect(legend).to_have_count(2)


def test_a_click_on_a_point_opens_its_run(page: Page, theme: str) -> None:
    press(page, "Pareto plot")
    plot = runs(page).locator(".pclora-runs-pareto")
    points = plot.locator(".scatterlayer .point")
    expect(points).to_have_count(3, timeout=30_000)
    points.first.scroll_into_view_if_needed()
    screenshot(page, "2_pareto", theme)
    data = plot.locator(".js-plotly-plot").evaluate(
        "plot => plot.data.filter(t => t.customdata && t.customdata.length)[0].customdata"
    )
    at = list(data).index(HTML)
    plot.get_by_role("button", name="Table: finished runs").click()
    row = plot.get_by_role("row").filter(has_text=HTML)
    expect(row).to_contain_text(re.compile(r"PC-LoRA\s*[\d,]+\s*\d+(\.\d)?"))
    points.nth(at).hover(force=True)
    hover = plot.locator(".hoverlayer")
    expect(hover).to_contain_text(HTML)
    points.nth(at).click(force=True)
    expect(told(page)).to_have_text(f"opened runs/{HTML}")
    expect(line(page, HTML)).to_have_attribute("aria-current", "true")
    assert page.locator(".pclora-runs img").count() == 0
    press(page, "Pareto plot")
    expect(plot).to_be_hidden()


def test_the_keyboard_reaches_everything(page: Page) -> None:
    line(page, names(page)[0]).click()
    first, second = names(page)[:2]
    page.keyboard.press("ArrowDown")
    expect(line(page, second)).to_be_focused()
    page.keyboard.press("End")
    expect(line(page, names(page)[-1])).to_be_focused()
    page.keyboard.press("Home")
    expect(line(page, first)).to_be_focused()
    before = line(page, first).get_attribute("aria-selected")
    page.keyboard.press("Space")
    expect(line(page, first)).not_to_have_attribute("aria-selected", before)
    page.keyboard.press("Space")
    expect(line(page, first)).to_have_attribute("aria-selected", before)
    line(page, "rank2").click()
    page.keyboard.press("Enter")
    expect(told(page)).to_have_text("opened runs/rank2")
    line(page, "broken").click()
    expect(message(page)).to_contain_text("broken: config.json can't be read")
    page.keyboard.press("Enter")
    expect(message(page)).to_contain_text("broken can't be opened: config.json can't be read")


def test_the_same_settings_again(page: Page) -> None:
    line(page, "rank6").click()
    press(page, "Same settings again")
    expect(told(page)).to_contain_text("rank=6")
    line(page, "other_version").click()
    press(page, "Same settings again")
    expect(message(page)).to_contain_text("RunConfig has no quantum")


def test_rename(page: Page, folder: Path, theme: str) -> None:
    line(page, "rank6").click()
    field = runs(page).locator("input[placeholder='new name of the current run']")
    expect(field).to_have_value("rank6")
    field.fill("<i>best one")
    press(page, "Rename")
    expect(line(page, "<i>best one")).to_be_visible()
    expect(message(page)).to_have_text("rank6 is now <i>best one")
    assert (folder / "runs" / "<i>best one" / "history.jsonl").is_file()
    press(page, "Rename")
    expect(message(page)).to_contain_text("<i>best one has that name already")
    field.fill("../out")
    press(page, "Rename")
    expect(message(page)).to_contain_text("a run can't be named '../out'")
    screenshot(page, "3_renamed", theme)
    line(page, "odd_values").click()
    field.fill("x")
    press(page, "Rename")
    expect(message(page)).to_contain_text("odd_values is being written and can't be renamed")


def test_delete_asks_in_place(page: Page, folder: Path, theme: str) -> None:
    box = runs(page).get_by_role("checkbox", name="select all runs found")
    box.check()
    count(page, "7 of 7, 7 selected")
    box.uncheck()
    count(page, "7 of 7")
    for name in ("rank2", HTML):
        line(page, name).get_by_role("checkbox").check()
    count(page, "7 of 7, 2 selected")
    press(page, "Delete")
    question = runs(page).locator(".pclora-runs-question")
    expect(question).to_contain_text("Delete 2 runs?")
    expect(question).to_contain_text(HTML)
    screenshot(page, "4_question", theme)
    press(page, "No")
    expect(question).to_be_hidden()
    assert (folder / "runs" / "rank2").is_dir()
    press(page, "Delete")
    press(page, "Yes")
    expect(line(page, "rank2")).to_have_count(0)
    count(page, "5 of 5")
    assert not (folder / "runs" / "rank2").exists() and not (folder / "runs" / HTML).exists()
    line(page, "odd_values").get_by_role("checkbox").check()
    count(page, "5 of 5, 1 selected")
    press(page, "Delete")
    expect(message(page)).to_contain_text("odd_values is being written and can't be deleted")


def test_a_cell_is_edited_and_the_table_scrolls(page: Page, theme: str) -> None:
    table = page.locator("table[aria-label=things]")
    table.scroll_into_view_if_needed()
    row = table.locator("tbody tr").nth(2)
    field = row.get_by_role("spinbutton", name="rank of row 2, 1 to 40")
    field.fill("7.5")
    page.wait_for_timeout(900)  # rows arrive meanwhile
    expect(field).to_have_value("7.5")
    expect(field).to_be_focused()
    field.press("Enter")
    expect(field).to_have_attribute("aria-invalid", "true")
    alert = table.locator("xpath=../..").locator(".pclora-table-alert")
    expect(alert).to_contain_text("row 2: rank 7.5 can't be used")
    screenshot(page, "5_edit", theme)
    field.fill("7")
    field.press("Enter")
    expect(told(page)).to_have_text("rank 7")
    expect(alert).to_have_text("")
    row.locator("td[data-column=what]").click()
    row.press("End")
    last = table.locator("tbody tr").last
    expect(last).to_be_focused()
    before = last.inner_text()
    expect(last).not_to_have_text(before)
    expect(last).to_be_focused()
    scroll = table.locator("xpath=..")
    assert scroll.evaluate("place => place.clientHeight <= 120 && place.scrollTop > 300")
    expect(table.get_by_role("columnheader", name="rank")).to_be_in_viewport()


def test_a_long_table_shows_its_lines_in_parts(page: Page) -> None:
    place = page.locator(".pclora-table").last
    place.scroll_into_view_if_needed()
    lines, said = place.locator("tbody tr"), place.locator(".pclora-table-count")
    expect(lines).to_have_count(300)
    place.get_by_role("columnheader", name="n (pieces)").get_by_role("button").click()
    place.get_by_role("checkbox", name="select all many found").check()
    expect(said).to_have_text("700 of 700, 700 selected")
    place.get_by_role("button", name="show 300 more").click()
    expect(lines.nth(300)).to_be_focused()
    place.get_by_role("button", name="show 100 more").click()
    expect(lines).to_have_count(700)
    expect(place.locator("button.jupyter-button")).to_be_hidden()
    place.get_by_role("searchbox").fill("69")
    expect(said).to_have_text("17 of 700, 700 selected (683 hidden by the filter)")


def test_colors_follow_the_theme(page: Page, theme: str) -> None:
    def lightness(prop: str) -> float:
        script = "(cell, prop) => getComputedStyle(cell)[prop].match(/[\\d.]+/g).slice(0, 3)"
        cell = page.locator("table[aria-label=things] thead th").first
        return sum(map(float, cell.evaluate(script, prop)))

    assert (lightness("color") > lightness("backgroundColor")) == (theme == "dark")
