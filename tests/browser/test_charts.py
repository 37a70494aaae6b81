"""The charts of a run in a real browser: time, zoom, cursor, λ by hand, tables, downloads."""

import csv
import io
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter import themes
from own_notebook import run_notebook
from playwright.sync_api import Locator, Page, expect

from pclora_lab.ui.widgets import chart as chart_module

pytestmark = pytest.mark.browser
STORY, PANELS = 0, 1
CELLS = (
    """import math

from ipywidgets import Button, VBox

from pclora_lab.methods.registry import METHODS
from pclora_lab.ui.views.live_plot import LiveView
from pclora_lab.ui.views.timeline import Timeline
from pclora_lab.ui.widgets.page import Page

page, timeline = Page(), Timeline()
live = LiveView(slider=timeline.slider)
page.observe(lambda change: live.fit_theme(change["new"]), "dark")
rows, timed = [], True


def row(step):
    lam = 0.5 if 80 <= step < 140 else max(0.0, 1 - step / 200)
    measured = 0.9 - 0.2 * math.exp(-step / 60) if step % 20 == 0 else None
    moves = {80: [[80, 0.5]], 140: [[140, None]]}.get(step)
    told = {"overrides": moves} if moves else {}
    return {
        "phase": "fade", "step": step, "lam": lam, "accuracy": measured,
        "accuracy_if_base_removed": measured and 0.8 * measured, "teacher_accuracy": 0.95,
        "base_share": lam / 5, "task": 0.5 * math.exp(-step / 20), "feature": 0.04,
        "held_percent": 100.0 if lam else 12.0, "step_ms": 20 + step % 7,
        "examples": 266, **({"seconds": 0.5 + 0.03 * step} if timed else {}), **told,
    }


def go_on(until):
    rows.extend(row(step) for step in range(len(rows) * 4, until + 1, 4))
    live.update(rows, 300)
    timeline.newest(rows[-1]["step"])


def begin(_=None):
    rows.clear()
    timeline.begin(300)
    live.clear(300, METHODS["pclora"].metrics)
    go_on(200)


def begin_with_teacher(_):
    begin()
    taught = [{"phase": "teacher", "step": n, "steps": 40, "accuracy": n / 50} for n in (20, 40)]
    live.update([*taught, *rows], 300)


def begin_without_times(_):
    global timed
    timed = False
    begin()
    timed = True


more = Button(description="more points")
more.on_click(lambda _: go_on(rows[-1]["step"] + 4))
anew, untimed = Button(description="begin"), Button(description="begin without times")
anew.on_click(begin)
untimed.on_click(begin_without_times)
taught = Button(description="begin with a teacher", layout={"width": "auto"})
taught.on_click(begin_with_teacher)
begin()""",
    """lab = VBox([page, more, anew, untimed, taught, timeline.widget, live.widget])
lab.add_class("pclora-lab")
lab""",
)


@pytest.fixture(scope="module", params=themes("light"))
def theme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def errors() -> list[str]:
    return []


@pytest.fixture(scope="module")
def page(theme: str, tmp_path_factory: pytest.TempPathFactory, errors: list[str]) -> Iterator[Page]:
    with run_notebook(tmp_path_factory.mktemp(theme), CELLS, dark=theme == "dark") as page:
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.locator(".pclora-chart .main-svg").nth(3).wait_for()
        page.set_viewport_size({"width": 1280, "height": 1100})
        yield page


def chart(page: Page, number: int) -> Locator:
    return page.locator(".pclora-chart-room").nth(number)


def use(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def begin(page: Page, name: str = "begin") -> None:
    """The invented run once more, up to step 200 of 300."""
    page.locator(".pclora-lab").evaluate("lab => lab.scrollIntoView()")
    use(page, name)
    use(page, "Steps")
    last_point(page, 200)


def point_at(page: Page, share: float, told: re.Pattern[str]) -> None:
    """Move the pointer to that share of the first panel's width until the chart has told this.

    A page may still be drawing, or scrolling, so the panel is looked for again each time.
    """
    values = chart(page, STORY).locator(".pclora-values")
    for _ in range(100):
        left, top, width, height = panel(page, 0)
        page.mouse.move(left + share * width - 3, top + height / 2)
        page.mouse.move(left + share * width, top + height / 2)
        page.wait_for_timeout(100)
        if values.count() and told.search(values.inner_text().replace("\n", "")):
            return
    expect(values).to_have_text(told)


def last_point(page: Page, x: float) -> None:
    """Wait until every panel ends there."""
    page.wait_for_function(
        """x => [...document.querySelectorAll('.pclora-chart')].every(room =>
            Math.abs(room._fullData.find(t => t.x?.length)?.x.at(-1) - x) < 1e-6)""",
        arg=x,
    )


def axes(page: Page, kind: str, what: str) -> list:
    """Of every panel, from left to right and from top to bottom."""
    return page.evaluate(
        """([kind, what]) => [...document.querySelectorAll('.pclora-chart')].flatMap(room =>
            Object.entries(room._fullLayout._plots)
                .filter(([id, plot]) => !id.includes('z') && !plot.yaxis.overlaying)
                .map(([, plot]) =>
                    what.split('.').reduce((part, name) => part[name], plot[kind])))""",
        [kind, what],
    )


def await_axes(page: Page, what: str, wanted: list) -> None:
    """Wait until the x axes of all panels have this: they are drawn one after the other."""
    for _ in range(100):
        if axes(page, "xaxis", what) == wanted:
            return
        page.wait_for_timeout(100)
    assert axes(page, "xaxis", what) == wanted


def panel(page: Page, number: int) -> tuple[float, float, float, float]:
    """Left, top, width and height of a panel's plot, as seen."""
    return tuple(
        page.evaluate(
            """number => [...document.querySelectorAll('.pclora-chart')].flatMap(room =>
                Object.entries(room._fullLayout._plots)
                .filter(([id, plot]) => !id.includes('z') && !plot.yaxis.overlaying)
                .map(([, plot]) => plot)
                    .map(({xaxis, yaxis}) => {
                        const {left, top} = room.getBoundingClientRect();
                        return [left + xaxis._offset, top + yaxis._offset, xaxis._length,
                            yaxis._length];
                    }))[number]""",
            number,
        )
    )


def zoom(page: Page, number: int) -> None:
    """Drag over the middle of a panel while a point arrives."""
    left, top, width, height = panel(page, number)
    page.mouse.move(left + 0.3 * width, top + 0.3 * height)
    page.mouse.down()
    page.mouse.move(left + 0.5 * width, top + 0.6 * height, steps=4)
    page.evaluate("document.querySelector('.pclora-lab button').click()")
    page.wait_for_timeout(120)
    page.mouse.move(left + 0.7 * width, top + 0.9 * height, steps=4)
    page.mouse.up()


def test_x_is_steps_or_time_in_all_panels_at_once(page: Page) -> None:
    begin(page)
    await_axes(page, "title.text", ["step"] * 4)
    use(page, "Time")
    last_point(page, 0.5 + 0.03 * 200)
    await_axes(page, "title.text", ["training time (s)"] * 4)
    await_axes(page, "range.1", pytest.approx([6.5] * 4))
    use(page, "more points")
    last_point(page, 0.5 + 0.03 * 204)
    expect(page.get_by_role("button", name="Time", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )


def test_over_time_a_teacher_that_recorded_none_is_left_out(page: Page) -> None:
    begin(page, "begin with a teacher")
    await_axes(page, "range.0", [-20] * 4)
    told = re.compile(r"step −1\dteacher while fine-tuned 40.0%")
    point_at(page, 0.01, told)
    use(page, "Time")
    last_point(page, 6.5)
    await_axes(page, "title.text", ["training time (s), without the teacher's"] * 4)
    await_axes(page, "range.0", [0] * 4)


def test_a_run_without_times_says_so(page: Page) -> None:
    begin(page, "begin without times")
    button = page.get_by_role("button", name="Time", exact=True)
    expect(button).to_have_attribute("aria-disabled", "true")
    button.focus()
    expect(page.get_by_text("This run has not recorded when its steps were taken")).to_be_visible()
    page.keyboard.press("Enter")
    await_axes(page, "title.text", ["step"] * 4)


@pytest.mark.parametrize("unit", ["Steps", "Time"])
def test_a_zoom_stays_while_points_arrive(page: Page, unit: str) -> None:
    begin(page)
    use(page, unit)
    page.wait_for_timeout(300)
    before = [axes(page, kind, "range") for kind in ("xaxis", "yaxis")]
    for number in range(4):
        zoom(page, number)
    page.wait_for_timeout(300)
    zoomed = [axes(page, kind, "range") for kind in ("xaxis", "yaxis")]
    for was, now in zip(before[0] + before[1], zoomed[0] + zoomed[1], strict=True):
        assert abs(now[1] - now[0]) < 0.75 * abs(was[1] - was[0]), "all of them are zoomed"
    use(page, "more points")
    last = 220 if unit == "Steps" else 0.5 + 0.03 * 220
    last_point(page, last)
    now = [axes(page, kind, "range") for kind in ("xaxis", "yaxis")]
    for ranges, kept in zip(now, zoomed, strict=True):
        assert sum(ranges, []) == pytest.approx(sum(kept, []))
    left, top, width, height = panel(page, 1)
    page.mouse.dblclick(left + width / 2, top + height / 2)
    end = 300 if unit == "Steps" else last
    page.wait_for_timeout(300)
    ends = axes(page, "xaxis", "range.1")
    assert ends[1] == pytest.approx(end) and ends[2] == pytest.approx(zoomed[0][2][1])


def test_where_a_hand_held_lambda_is_shaded_and_named(page: Page) -> None:
    begin(page)
    shape = "document.querySelector('.pclora-chart')._fullLayout.shapes.map(s => [s.x0, s.x1])"
    assert page.evaluate(shape) == [[80, 140]]
    legend = chart(page, STORY).locator(".legendtext")
    expect(legend.filter(has_text="λ held by hand")).to_have_count(1)
    point_at(page, 110 / 300, re.compile("step 110.*λ held by hand 0.50"))
    point_at(page, 160 / 300, re.compile("step 160(?!.*by hand)"))
    use(page, "Time")
    last_point(page, 6.5)
    assert page.evaluate(shape) == [pytest.approx([0.5 + 0.03 * 80, 0.5 + 0.03 * 140])]


def test_title_and_legend_stand_above_each_other(page: Page) -> None:
    begin(page)
    page.set_viewport_size({"width": 1000, "height": 1100})
    page.wait_for_function(
        """() => {
            const box = name => document.querySelector(`.pclora-chart ${name}`)
                .getBoundingClientRect();
            const [title, legend] = [box(".gtitle"), box("g.legend")];
            return legend.height > 30 && title.bottom <= legend.top + 2
                && legend.bottom <= box(".cartesianlayer .gridlayer").top + 2;
        }"""
    )
    page.set_viewport_size({"width": 1280, "height": 1100})
    page.wait_for_function(
        "document.querySelector('.pclora-chart')._fullLayout.margin.t === 64", timeout=5000
    )


def test_one_crosshair_tells_the_values_of_all_panels(page: Page) -> None:
    begin(page)
    left, top, width, height = panel(page, 2)
    page.mouse.move(left + width * 100.4 / 300, top + height / 2)
    shown = page.locator(".pclora-crosshair:visible .pclora-values")
    expect(shown).to_have_count(4)
    texts = shown.all_inner_texts()
    assert {text.split("\n")[0] for text in texts} == {"step 100"}
    for text in ("teacher 95.0%", "student as it is 86.2%", "λ 0.50"):
        assert text in texts[0]
    assert "λ 0.500" in texts[1] and "task 0.00337" in texts[2]
    assert "parameters held 100.0%" in texts[3] and "time per step 23" in texts[3]
    page.mouse.move(left + width * 0.95, top + height / 2)
    expect(shown.first).to_contain_text("step 285")
    chart_box = chart(page, PANELS).bounding_box()
    for box in (shown.nth(number).bounding_box() for number in (1, 2, 3)):
        assert chart_box["x"] - 1 <= box["x"]
        assert box["x"] + box["width"] <= chart_box["x"] + chart_box["width"] + 1
    page.mouse.move(left, top - 400)
    expect(page.locator(".pclora-crosshair:visible")).to_have_count(0)


def test_the_timeline_is_a_cursor_through_all_panels(page: Page) -> None:
    begin(page)
    cursors = page.locator(".pclora-cursor:visible")
    expect(cursors).to_have_count(4)
    page.wait_for_timeout(500)  # until all of the new run is drawn
    page.evaluate(
        """() => {
            window.redraws = 0; window.delays = [];
            for (const room of document.querySelectorAll('.pclora-chart'))
                room.on('plotly_afterplot', () => { window.redraws += 1; });
            const cursor = [...document.querySelectorAll('.pclora-cursor')].at(-1);
            addEventListener('keydown', () => {
                const [began, was] = [performance.now(), cursor.style.left];
                const look = () => {
                    if (cursor.style.left === was) return requestAnimationFrame(look);
                    // The next task comes after this frame was painted.
                    const channel = new MessageChannel();
                    channel.port1.onmessage = () => window.delays.push(performance.now() - began);
                    channel.port2.postMessage(0);
                };
                requestAnimationFrame(look);
            }, true);
        }"""
    )
    handle = page.locator(".pclora-timeline .noUi-handle")
    handle.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(40)
    page.wait_for_function("window.delays.length === 20")
    delays = sorted(page.evaluate("window.delays"))
    print(f"input to painted frame: median {statistics.median(delays):.0f}, most {delays[-1]:.0f}")
    assert statistics.median(delays) <= 100
    assert page.evaluate("window.redraws") == 0
    left, _, width, _ = panel(page, 0)
    notch = float(handle.get_attribute("aria-valuenow"))
    places = cursors.evaluate_all(
        "all => all.map(e => e.getBoundingClientRect()).map(b => (b.left + b.right) / 2)"
    )
    assert places[0] == pytest.approx(left + width * notch / 200, abs=1.5)
    expect(page.locator(".pclora-step")).to_have_text(f"step {round(notch / 200 * 300)} of 300")


def download(page: Page, name: str) -> bytes:
    chart(page, STORY).get_by_role("button", name="options of").click()
    with page.expect_download() as begun:
        use(page, f"Download {name}")
    page.keyboard.press("Escape")
    assert begun.value.suggested_filename == f"scores_while_the_base_fades.{name.lower()}"
    return Path(begun.value.path()).read_bytes()


def test_a_chart_is_taken_away_as_picture_and_as_numbers(page: Page) -> None:
    begin(page)
    png = download(page, "PNG")
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(png[16:20]) == 2 * round(chart(page, STORY).bounding_box()["width"])
    assert "λ held by hand" in download(page, "SVG").decode()
    rows = list(csv.DictReader(io.StringIO(download(page, "CSV").decode())))
    last = [row for row in rows if row["curve"] == "teacher"][-1]
    assert last == {"curve": "teacher", "step": "200", "seconds": "6.5", "value": "0.95"}


def test_a_table_stands_behind_each_chart(page: Page) -> None:
    begin(page)
    for number, captions in ((STORY, 1), (PANELS, 3)):
        opener = chart(page, number).get_by_role("button", name="Table")
        opener.focus()
        page.keyboard.press("Enter")
        expect(opener).to_have_attribute("aria-expanded", "true")
        expect(chart(page, number).locator("caption")).to_have_count(captions)
    table = chart(page, STORY).get_by_role("table", name="Accuracy (266 validation examples)")
    heads = table.get_by_role("columnheader").all_inner_texts()
    assert heads[:3] == ["step", "λ", "λ held by hand"]
    row = table.get_by_role("row", name=re.compile("^100 "))
    assert row.get_by_role("cell").all_inner_texts() == ["0.50", "0.50", "95.0%", "86.2%", "69.0%"]
    for _ in range(5):
        use(page, "more points")
    expect(table.get_by_role("rowheader", name="220")).to_be_visible()
    losses = chart(page, PANELS).locator("table").nth(1).locator("tbody tr")
    assert 20 < losses.count() <= 60
    chart(page, STORY).get_by_role("button", name="Table").click()
    expect(table).to_have_count(0)


def test_numbers_are_written_as_people_write_them(page: Page) -> None:
    code = Path(chart_module.__file__).with_name("chart_reading.js").read_text()
    written = page.evaluate(
        f"""() => {{
            {code}
            const axis = {{ ticksuffix: " ms" }}, percent = {{ hoverformat: ".1%" }};
            return [57512, 57510.4, 0.123456, 3.21e-7, -0.5, 0, 1e21].map(value => short(value))
                .concat(written(12.34, axis), written(0.9, percent), written(null, percent),
                    written(-0.004, percent), written(0.5, percent, {{ yhoverformat: ".2f" }}));
        }}"""
    )
    assert written[:7] == ["57,512", "57,500", "0.123", "3.21×10⁻⁷", "−0.5", "0", "1×10²¹"]
    assert written[7:] == ["12.3 ms", "90.0%", "–", "−0.4%", "0.50"]


def test_nothing_went_wrong(errors: list[str]) -> None:
    assert errors == []
