"""The report in a browser: two pages of A4, light and dark, and nothing that reaches outside."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter import CHROMIUM_OPTIONS, find_chromium
from playwright.sync_api import Browser, Page, sync_playwright

from pclora_lab.plots.palette import contrast
from pclora_lab.plots.report import write_report
from pclora_lab.runs.execution import execute
from pclora_lab.training.config import RunConfig

pytestmark = pytest.mark.browser
SCREENSHOTS = os.environ.get("SCREENSHOTS")
ODD = "حروف العربية <script>document.title='run'</script> " + "x" * 150
PRE_LINES = """(() => {
    const e = document.querySelector("pre"), s = getComputedStyle(e)
    const inside = e.clientHeight - parseFloat(s.paddingTop) - parseFloat(s.paddingBottom)
    return inside / parseFloat(s.lineHeight)
})()"""
CLIPPED = """[...document.querySelectorAll("svg text")].filter(e => {
    const {x, y, width, height} = e.getBBox(), all = e.ownerSVGElement.viewBox.baseVal
    return x < 0 || y < 0 || x + width > all.width || y + height > all.height
}).map(e => e.textContent)"""
COLOR = re.compile(r"\d+")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A plain run, and one whose names are long, in two directions, and look like markup."""
    root = tmp_path_factory.mktemp("runs")
    quick = {"steps": 12, "evaluations": 6, "eval_images": 60, "device": "cpu"}
    list(execute(RunConfig(**quick), root, name="plain"))
    odd = shutil.copytree(root / "plain", root / "odd")
    for name, values in (
        ("config.json", {"model": f"m{ODD}", "data": ODD, "weight_decay": 0.5, "warmup": 0.5}),
        ("result.json", {"notes": [f"{number} {ODD}" for number in range(12)]}),
    ):
        found = json.loads((odd / name).read_text())
        (odd / name).write_text(json.dumps(found | values))
    return {path.name: write_report(path) for path in (root / "plain", odd)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), **CHROMIUM_OPTIONS)
        yield browser
        browser.close()


def opened(browser: Browser, path: Path, width: int = 1000, scheme: str = "light") -> Page:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("name", ["plain", "odd"])
def test_it_prints_on_two_pages_of_a4(name: str, runs: dict[str, Path], browser: Browser) -> None:
    page = opened(browser, runs[name], scheme="dark")
    content = page.pdf(prefer_css_page_size=True, print_background=True)
    sizes = re.findall(rb"/MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]", content)
    assert len(re.findall(rb"/Type ?/Page\b", content)) == 2
    assert {(round(float(w)), round(float(h))) for w, h in sizes} == {(595, 842)}
    page.emulate_media(media="print", color_scheme="dark")
    assert _rgb(page, "body", "background-color") == "#ffffff", "paper is white"
    if SCREENSHOTS:
        Path(f"{SCREENSHOTS}/report_{name}.pdf").write_bytes(content)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1000])
def test_all_is_seen_and_nothing_is_asked_of_others(
    width: int, scheme: str, runs: dict[str, Path], browser: Browser
) -> None:
    for name, path in runs.items():
        page = opened(browser, path, width, scheme)
        images = "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
        assert page.evaluate(images)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0, "it scrolls sideways"
        lines = page.locator("pre").inner_text().rstrip().count("\n") + 1
        assert round(page.evaluate(PRE_LINES)) == lines, "a line of code is broken"
        assert page.evaluate(CLIPPED) == [], "a chart cuts its words off"
        own = [url for url in page.asked if not url.startswith("data:")]
        assert own == [path.as_uri()] and page.complaints == []
        assert page.title() != "run", "a name was run as a script"
        if SCREENSHOTS:
            shot = f"{SCREENSHOTS}/report_{name}_{width}_{scheme}.png"
            page.screenshot(path=shot, full_page=True)
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_curves_can_be_told_from_the_page(
    scheme: str, runs: dict[str, Path], browser: Browser
) -> None:
    page = opened(browser, runs["plain"], scheme=scheme)
    ground = _rgb(page, "body", "background-color")
    assert (ground == "#ffffff") == (scheme == "light")
    for words in ("body", ".caption", ".legend", "small", "th", "b.right"):
        assert contrast(_rgb(page, words, "color"), ground) >= 4.5, words
    assert contrast(_rgb(page, "svg text", "fill"), ground) >= 4.5
    for curve in ("student", "removed", "teacher"):
        assert contrast(_rgb(page, f"polyline.{curve}", "stroke"), ground) >= 3, curve
    for bar in ("before", "after"):
        assert contrast(_rgb(page, f".track .{bar}", "background-color"), ground) >= 3, bar
    page.close()


def _rgb(page: Page, place: str, name: str) -> str:
    value = page.locator(place).first.evaluate("(e, n) => getComputedStyle(e)[n]", name)
    return "#" + "".join(f"{int(part):02x}" for part in COLOR.findall(value)[:3])
