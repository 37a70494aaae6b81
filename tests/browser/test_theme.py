"""The theme in a real browser: JupyterLab's menu reaches the kernel, and a figure follows."""

import os
from collections.abc import Iterator

import pytest
from lab_page import choose_theme
from own_notebook import run_notebook
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
SCREENSHOTS = os.environ.get("SCREENSHOTS")
CELLS = (
    """import plotly.graph_objects as go
from ipywidgets import HTML, VBox

from pclora_lab.plots.palette import COLORS
from pclora_lab.plots.theme import apply_theme
from pclora_lab.ui.widgets.chart import Chart
from pclora_lab.ui.widgets.page import Page

page, said = Page(), HTML()
said.add_class("said")
line = go.Scatter(x=[0, 1], y=[1, 0], name="teacher", line={"color": COLORS["teacher"]})
chart = Chart(go.Figure(line, layout={"height": 300, "showlegend": True}))
chart.figure.update_xaxes(title_text="step")


def follow(change=None):
    with chart.changing() as figure:
        apply_theme(figure, page.dark)
    said.value = f"dark {page.dark}, alive {page.alive}"


follow()
page.observe(follow, ["dark", "alive"])
VBox([page, said, chart])""",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with run_notebook(tmp_path_factory.mktemp("theme"), CELLS) as page:
        page.wait_for_selector(".js-plotly-plot .legendtext")
        yield page


def drawn(page: Page) -> dict[str, str]:
    """Colors as the browser computed them: the line, the legend's text and box, the paper."""
    return page.evaluate(
        """() => {
        const find = name => document.querySelector(`.js-plotly-plot ${name}`);
        const style = (name, key) => getComputedStyle(find(name))[key];
        return {line: style('.js-line', 'stroke'), text: style('.legendtext', 'fill'),
                box: style('.legend .bg', 'fill'), paper: find('.main-svg').style.background,
                title: style('.xtitle', 'fill')};
    }"""
    )


def screenshot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/theme_{name}.png")


def test_the_light_page_reaches_the_kernel(page: Page) -> None:
    expect(page.locator(".said")).to_have_text("dark False, alive True")
    colors = drawn(page)
    assert colors["line"] == "rgb(85, 85, 85)" and colors["text"] == "rgb(31, 31, 31)"
    assert "rgba(0, 0, 0, 0)" in colors["paper"]
    screenshot(page, "light")


def test_the_menus_theme_reaches_the_kernel_and_the_figure_and_goes_back(page: Page) -> None:
    choose_theme(page, "JupyterLab Dark")
    expect(page.locator(".said")).to_have_text("dark True, alive True")
    page.wait_for_timeout(1000)
    colors = drawn(page)
    screenshot(page, "dark")
    assert colors["line"] == "rgb(187, 187, 187)" and colors["box"] == "rgb(17, 17, 17)"
    assert colors["text"] == colors["title"] == "rgb(230, 230, 230)"
    choose_theme(page, "JupyterLab Light")
    expect(page.locator(".said")).to_have_text("dark False, alive True")
    page.wait_for_timeout(1000)
    assert drawn(page)["line"] == "rgb(85, 85, 85)"


def test_the_page_widget_takes_no_room(page: Page) -> None:
    assert page.locator("[aria-hidden=true][style*='width: 100%']").count()
    height = page.evaluate(
        "() => document.querySelector('.said').getBoundingClientRect().top - "
        "document.querySelector('.jp-OutputArea-output').getBoundingClientRect().top"
    )
    assert height < 12
