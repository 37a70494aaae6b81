"""The lab in JupyterLab, light and dark: λ by hand, drawn schedules, layers, back in time."""

import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter import CHROMIUM_OPTIONS, find_chromium, jupyter_lab, themes
from lab_page import lab, press, ready, restart_kernel, run_cell, set_option, show_settings, status
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright

pytestmark = pytest.mark.browser
SCREENSHOTS = os.environ.get("SCREENSHOTS")
CELLS = (
    """from pclora_lab import RunConfig
from pclora_lab.ui.lab import Lab
lab = Lab(RunConfig(steps=120, evaluations=100, eval_images=60), root="runs")
lab""",
    "rows = lab.session.snapshot().rows\nprint(rows[-1].get('lam') if rows else 'no rows yet')",
)
# A kernel that trains on two cores answers late.
expect.set_options(timeout=20_000)
STEP = re.compile(r"step \d+ of \d+")


@pytest.fixture(scope="module", params=themes("light"))
def theme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def errors() -> list[str]:
    """What the page's console complains about, apart from JupyterLab's own."""
    return []


@pytest.fixture(scope="module")
def received() -> list[int]:
    """Sizes of what the kernels' websockets have brought."""
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, theme: str) -> Path:
    folder = tmp_path_factory.mktemp(theme)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, folder / "lab.ipynb")
    return folder


@pytest.fixture(scope="module")
def page(folder: Path, theme: str, errors: list[str], received: list[int]) -> Iterator[Page]:
    chromium = find_chromium()

    def note(message: ConsoleMessage) -> None:
        where = message.location.get("url", "")
        # JupyterLab's own: what a page finds that is loaded anew while the kernel is at work.
        known = ("Failed to load resource", "widget model not found")
        if message.type == "error" and not any(text in message.text for text in known):
            what = [
                str(argument.evaluate("e => e?.stack ?? String(e)")) for argument in message.args
            ]
            errors.append(f"{message.text} {what} ({where})")

    with jupyter_lab(folder, theme == "dark") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, **CHROMIUM_OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 1700})
        page.set_default_timeout(60_000)
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("websocket", lambda s: s.on("framereceived", lambda b: received.append(len(b))))
        page.goto(address.format(notebook="lab.ipynb"))
        ready(page)
        run_cell(page, 0)
        lab(page).locator(".pclora-views").wait_for(timeout=120_000)
        yield page
        browser.close()


def answer(page: Page, number: int) -> str:
    """Run a cell once more and read what it gives."""
    prompt = page.locator(".jp-CodeCell").nth(number).locator(".jp-InputPrompt")
    before = prompt.inner_text()
    run_cell(page, number)
    expect(prompt).not_to_have_text(before, timeout=60_000)
    expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=60_000)
    return page.locator(".jp-CodeCell").nth(number).locator(".jp-OutputArea-output").inner_text()


def screenshot(page: Page, name: str, theme: str) -> None:
    if SCREENSHOTS:
        page.wait_for_timeout(1200)
        page.screenshot(path=f"{SCREENSHOTS}/lab_{name}_{theme}.png")


def tab(page: Page, name: str) -> None:
    lab(page).get_by_role("tab", name=name).click()


def train(page: Page) -> None:
    """A run that goes on for longer than a test; one that is going is kept."""
    if not STEP.search(lab(page).locator(".pclora-status").inner_text()):
        set_option(page, "steps", "4000")
        press(page, "Train")
        status(page, STEP)


def stop(page: Page) -> None:
    """Whatever is going."""
    if lab(page).get_by_role("button", name="Stop").count():
        press(page, "Stop")
        status(page, "stopped")


def hold(page: Page) -> float:
    """Take λ in the hand; returns it as it is shown."""
    shown = lab(page).locator(".pclora-hold")
    # Of this run, and not so near its end that it can go no further down.
    expect(shown).to_have_text(re.compile(r"λ (1|0\.[1-9])\S* by the schedule"))
    drag_handle(page, ".pclora-lambda", ["ArrowLeft"] * 5)
    expect(shown).to_contain_text("in your hand")
    # The page sends the last of many values when the kernel has answered those before it.
    page.wait_for_timeout(1000)
    return float(re.search(r"λ (\d\.\d+)", shown.inner_text())[1])


def give_back(page: Page) -> None:
    lab(page).get_by_label("clear moments").check()
    press(page, "Give back")
    expect(lab(page).locator(".pclora-hold")).to_contain_text("by the schedule")


def some_steps_later(page: Page) -> None:
    """Until a row of the history has been written; there are about 120 of them."""
    line = lab(page).locator(".pclora-status")

    def step() -> int:
        return int(re.search(r"step (\d+)", line.inner_text())[1])

    until, began = step() + 40, time.monotonic()
    while step() < until:
        assert time.monotonic() < began + 60, "the training goes on"
        page.wait_for_timeout(100)


def drag_handle(page: Page, css: str, presses: list[str]) -> None:
    handle = lab(page).locator(f"{css} .noUi-handle").first
    handle.focus()
    for key in presses:
        handle.press(key)


def plot(page: Page, number: int, what: str) -> object:
    """Something of the data of the lab's figure with this number."""
    return page.evaluate(
        f"n => {{ const d = document.querySelectorAll('.pclora-lab .js-plotly-plot')[n]._fullData; "
        f"return {what}; }}",
        number,
    )


def test_a_schedule_is_drawn_by_keys_mouse_and_text(page: Page, theme: str) -> None:
    points, typed = (
        lab(page).locator(".pclora-curve-point"),
        lab(page).locator(".pclora-points input"),
    )
    expect(points).to_have_count(6)
    points.nth(2).focus()
    for _ in range(3):
        page.keyboard.press("Shift+ArrowUp")
    expect(points.nth(2)).to_have_attribute("aria-valuetext", re.compile(r"λ 0.69\d at 24%"))
    expect(typed).to_have_value(re.compile("0.24:0.69"))  # no higher than the point before it
    box = points.nth(4).bounding_box()
    page.mouse.move(box["x"] + 6, box["y"] + 6)
    page.mouse.down()
    page.mouse.move(box["x"] + 6, box["y"] - 20, steps=4)
    page.mouse.up()
    expect(typed).not_to_have_value(re.compile("0.48:0.049"))
    page.keyboard.press("Delete")
    expect(points).to_have_count(5)
    # The kernel's answer, or it would arrive over what is typed next.
    expect(typed).to_have_value(re.compile(r"^([^,]+,){4}[^,]+$"))
    screenshot(page, "1_drawn", theme)
    typed.fill("0:1, 0.3:0.9, 0.8:0.3")
    typed.press("Enter")
    note = lab(page).locator(".pclora-schedule-note")
    problem = lab(page).locator(".pclora-field-problem").filter(visible=True)
    expect(problem).to_contain_text("ends at λ = 0.3")
    typed.fill("0:0.8, 0.3:0.7, 0.7:0")
    typed.press("Enter")
    expect(note).to_contain_text("λ starts at 0.8 and not at 1")
    expect(problem).to_have_count(0)
    expect(points).to_have_count(3)
    typed.fill("0:1, 0.4:0.8, 0.7:0")
    typed.press("Enter")


def test_the_first_points_come_within_a_second_or_so(page: Page, theme: str) -> None:
    stop(page)
    set_option(page, "steps", "4000")
    press(page, "Train")
    page.wait_for_function(
        "() => document.querySelector('.pclora-lab .js-plotly-plot')?._fullData?.[0].x?.length > 1",
        timeout=60_000,
    )
    status(page, STEP)


def test_lambda_is_held_and_given_back(page: Page, theme: str) -> None:
    train(page)
    readout = hold(page)
    page.wait_for_function(
        "lam => Math.abs(document.querySelector('.pclora-lab .js-plotly-plot')._fullData[0]"
        ".y?.at(-1) - lam) < 0.001",
        arg=readout,
    )
    assert float(answer(page, 1)) == pytest.approx(readout)
    screenshot(page, "2_held", theme)
    give_back(page)
    page.wait_for_function(
        "lam => Math.abs(document.querySelector('.pclora-lab .js-plotly-plot')._fullData[0]"
        ".y?.at(-1) - lam) > 0.001",
        arg=readout,
    )


def test_all_that_moves_fits_into_a_small_window(page: Page, theme: str) -> None:
    train(page)
    tab(page, "Curves")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.wait_for_timeout(1000)
    lab(page).evaluate("e => e.scrollIntoView()")
    page.wait_for_timeout(500)
    ends = page.evaluate(
        """() => [".jp-WindowedPanel-outer", ".pclora-bar", ".pclora-tiles", ".pclora-timeline",
            ".pclora-live-charts"].map(name => {
                const {top, bottom} = document.querySelector(name).getBoundingClientRect();
                return [top, bottom];
            })"""
    )
    (top, bottom), *parts = ends
    assert all(top - 1 <= first and last <= bottom + 1 for first, last in parts), ends
    for width in (1000, 1200, 1920, 1280):  # 1200 leaves the lab some 750 pixels
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(500)
        assert cut_tiles(page) == [], width
    tiles = parts[1][0]
    show_settings(page)
    page.wait_for_timeout(500)
    moved = lab(page).locator(".pclora-tiles").bounding_box()["y"] - tiles
    assert abs(moved) <= 8, "numbers stay where they are when the form opens"
    assert cut_tiles(page) == []
    page.set_viewport_size({"width": 1280, "height": 1700})


def cut_tiles(page: Page) -> list[str]:
    """The texts of large numbers that do not fit, or whose slider sticks out."""
    return (
        lab(page)
        .locator(".pclora-tile")
        .evaluate_all(
            """all => all.filter(tile => {
                const {bottom, right} = tile.getBoundingClientRect();
                const parts = [...tile.querySelectorAll("[role=slider], .widget-slider, b, small")];
                return tile.scrollHeight > tile.clientHeight + 1 || parts.some(part => {
                    const box = part.getBoundingClientRect();
                    return box.bottom > bottom + 1 || box.right > right + 1;
                });
            }).map(tile => tile.textContent)"""
        )
    )


def test_the_layers_are_shown_while_it_trains(page: Page, theme: str) -> None:
    train(page)
    tab(page, "Layers")
    page.wait_for_function(
        "() => document.querySelectorAll('.pclora-lab .js-plotly-plot').length > 1"
    )
    page.wait_for_function(
        "() => [...document.querySelectorAll('.pclora-lab .js-plotly-plot')].at(-1)"
        "._fullData[1].x?.length > 3"
    )
    note = lab(page).locator(".pclora-layers-note")
    expect(note).to_contain_text("of the training time", timeout=90_000)
    screenshot(page, "3_layers", theme)


def test_a_loaded_page_and_a_cell_run_again_find_the_run(page: Page, theme: str) -> None:
    train(page)
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1500)
    page.reload()
    ready_or_busy = page.get_by_text(re.compile(r"Python 3 \(ipykernel\) \| (Idle|Busy)"))
    ready_or_busy.wait_for(timeout=120_000)
    page.wait_for_timeout(4000)
    screenshot(page, "3_loaded_anew", theme)
    run_cell(page, 0)
    page.wait_for_timeout(2000)
    status(page, STEP)
    page.wait_for_function(
        "() => document.querySelector('.pclora-lab .js-plotly-plot')?._fullData[0].x?.length > 3"
    )
    page.wait_for_function(
        "() => document.querySelector('.pclora-lab .js-plotly-plot').clientWidth > 400"
    )
    press(page, "Stop")
    status(page, "stopped")


def test_a_page_that_is_loaded_again_and_again_is_sent_the_same(
    page: Page, theme: str, received: list[int]
) -> None:
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1500)
    sizes = []
    for _ in range(3):
        received.clear()
        page.reload()
        page.wait_for_function(
            "() => document.querySelector('.pclora-lab .js-plotly-plot')?._fullData?.length > 3"
        )
        page.wait_for_timeout(1000)
        sizes.append(sum(received))
    assert max(sizes) < 6e6 and max(sizes) < 1.05 * min(sizes), sizes


def test_keys_stay_in_the_lab(page: Page, theme: str) -> None:
    cells = page.locator(".jp-Cell")
    before = cells.count()
    show_settings(page)
    for part in (".noUi-handle", "select", "button", "[role=tab]"):
        lab(page).locator(part).filter(visible=True).first.focus()
        for key in ("x", "a", "b", "d", "d", "0", "0", "m"):
            page.keyboard.press(key)
    page.wait_for_timeout(500)
    assert cells.count() == before and page.locator(".jp-Dialog").count() == 0
    assert page.locator(".jp-MarkdownCell").count() == 0


def test_back_in_time(page: Page, theme: str) -> None:
    stop(page)
    tab(page, "Curves")
    set_option(page, "steps", "60")
    press(page, "Train")
    status(page, "finished")
    # The line says so before the last points are drawn.
    last = "document.querySelector('.pclora-lab .js-plotly-plot')._fullData[0].x?.at(-1)"
    page.wait_for_function(f"{last} === 60")
    cursor = lab(page).locator(".pclora-cursor").first
    right = cursor.bounding_box()["x"]
    drag_handle(page, ".pclora-timeline", ["PageDown"] * 20)
    expect(lab(page).locator(".pclora-step")).to_contain_text(re.compile(r"step [23]\d of 60"))
    assert cursor.bounding_box()["x"] < right - 50 and page.evaluate(f"{last} === 60")
    tab(page, "Examples")
    note = lab(page).locator(".pclora-examples-note")
    expect(note).to_contain_text(re.compile(r"Step (2|3)\d, from 24 snapshots"))
    image = lab(page).locator("img[alt*='student']")
    expect(image).to_be_visible()
    before = image.get_attribute("src")
    screenshot(page, "4_examples", theme)
    press(page, "Newest")
    expect(note).to_contain_text("Step 60")
    expect(image).not_to_have_attribute("src", before)
    field = lab(page).get_by_role("textbox").filter(visible=True)
    numbers = lab(page).locator(".widget-text").filter(has_text="examples").locator("input")
    numbers.fill("1, two")
    numbers.press("Enter")
    expect(lab(page).locator(".pclora-problem")).to_contain_text("'two' is no list of numbers")
    numbers.fill("7, 8")
    numbers.press("Enter")
    expect(lab(page).locator(".pclora-problem")).to_have_text("")
    assert field.count() > 0
    tab(page, "Curves")


def test_the_same_settings_again_and_what_a_rank_gives(
    page: Page, folder: Path, theme: str
) -> None:
    train(page)
    hold(page)
    give_back(page)
    some_steps_later(page)
    stop(page)
    tab(page, "What would it give?")
    expect(lab(page).locator(".pclora-rank-sizes")).to_contain_text("57,514")
    screenshot(page, "5_ranks", theme)
    tab(page, "Runs")
    made = len(list(folder.glob("runs/*/config.json")))
    expect(lab(page).locator(".pclora-runs tbody tr")).to_have_count(made)
    screenshot(page, "6_runs", theme)
    stopped = lab(page).locator(".pclora-runs tbody tr").filter(has_text="stopped").first
    stopped.click()
    press(page, "Same settings again")
    expect(lab(page).get_by_text(re.compile(r"λ is moved by hand \d+ times"))).to_be_visible()
    press(page, "Leave them out")
    expect(lab(page).get_by_text("λ is moved by hand")).to_have_count(0)
    set_option(page, "steps", "40")


def test_the_page_fits_and_controls_have_names(page: Page, theme: str) -> None:
    wide = lab(page).evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert wide[0] <= wide[1] + 2
    nameless = lab(page).evaluate(
        """e => [...e.querySelectorAll('button, input, select, [role=slider]')].filter(c => {
            const label = c.getAttribute('aria-label') || c.title || c.textContent.trim()
                || c.placeholder || c.labels?.[0]?.textContent
                || c.getAttribute('aria-valuetext')
                || c.closest('.jupyter-widgets')?.querySelector('label')?.textContent;
            return !label && c.offsetParent !== null;
        }).map(c => c.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    expect(lab(page).locator(".noUi-handle:not([aria-label])")).to_have_count(0)
    expect(lab(page).locator("[title=null]")).to_have_count(0)
    told = lab(page).evaluate(
        "e => [...e.querySelectorAll('.noUi-handle')].map(h => h.getAttribute('aria-valuetext'))"
    )
    # "0.6", not "0.6000000000000001"
    assert told and not [text for text in told if re.search(r"\.\d{5}", text)], told


# A lumino tab listens to the mouse, a button to the click.
CLICK_ONE = """(lab, share) => {
    const all = [...lab.querySelectorAll('button, [role=tab]')];
    const there = all.filter(each => each.offsetParent !== null && !each.disabled);
    const one = there[Math.floor(share * there.length)];
    const mouse = {bubbles: true, cancelable: true, button: 0};
    for (const kind of ['pointerdown', 'mousedown', 'pointerup', 'mouseup', 'click']) {
        one.dispatchEvent(new MouseEvent(kind, mouse));
    }
    return one.textContent.trim() || one.getAttribute('aria-label');
}"""


def test_a_hundred_frantic_clicks(page: Page, theme: str, errors: list[str]) -> None:
    # A cell that is run again may leave a message of ipywidgets for a view that is gone.
    errors.clear()
    set_option(page, "steps", "2000")
    clicks = random.Random(7)
    pressed = []
    for _ in range(100):
        pressed.append(lab(page).evaluate(CLICK_ONE, clicks.random()))
        page.wait_for_timeout(clicks.choice((0, 20, 150)))
    assert {"Train", "Pause", "Stop"} & set(pressed) and len(set(pressed)) > 12
    assert answer(page, 1)  # the kernel answers
    page.wait_for_timeout(1500)
    stop(page)
    screenshot(page, "7_after_clicks", theme)
    assert "Traceback" not in page.locator(".jp-Notebook").inner_text()
    assert errors == []


def test_a_new_kernel_shows_the_newest_run_and_goes_on(page: Page, theme: str) -> None:
    stop(page)
    show_settings(page)
    lab(page).locator(".pclora-presets button").first.click()
    expect(lab(page).locator(".pclora-data input").first).to_have_value("digits")
    set_option(page, "steps", "500")
    press(page, "Train")
    status(page, STEP)
    page.wait_for_timeout(7000)  # the checkpoint that a kill leaves is of the first seconds
    restart_kernel(page)
    run_cell(page, 0)
    status(page, r"shown: vit_digits-.*(stopped|failed|killed); Resume goes on with it")
    page.wait_for_function(
        "() => document.querySelector('.pclora-lab .js-plotly-plot')?._fullData[0].x?.length > 0"
    )
    screenshot(page, "8_new_kernel", theme)
    press(page, "Resume")
    status(page, STEP)
    screenshot(page, "9_resumed", theme)
    press(page, "Stop")
    status(page, "stopped")
    expect(lab(page).get_by_role("button", name="Resume")).to_be_enabled()


def test_the_chosen_data_say_what_is_left_out(page: Page, theme: str, folder: Path) -> None:
    lines = [f"text {i},{('ham', 'spam')[i % 2]}" for i in range(400)]
    lines[7] = "no label,"
    (folder / "mail.csv").write_text("\n".join(["text,label", *lines]))
    show_settings(page)
    lab(page).get_by_role("button", name=re.compile("^Digits")).click()
    field = lab(page).locator(".pclora-data input").first
    before = field.input_value()
    field.fill(str(folder / "mail.csv"))
    field.press("Enter")
    said = lab(page).locator(".pclora-data-account")
    expect(said).to_contain_text("rows: 400 found, 399 used, 1 left out: 1 without a label")
    screenshot(page, "data", theme)
    field.fill(before)
    field.press("Enter")
    expect(said).to_contain_text("1,797 used")
