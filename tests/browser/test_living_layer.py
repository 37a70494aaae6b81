"""The living layer in a real browser: drawn from numbers, moved by hand and by keys."""

import os
import re
from collections.abc import Iterator

import pytest
from jupyter import themes
from own_notebook import run_notebook
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser
SCREENSHOTS = os.environ.get("SCREENSHOTS")
NARROW, WIDE = 300, 460
CELLS = (
    """from ipywidgets import Box, Button, HTML, Layout, VBox

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.views.living_layer import LivingLayer, counted
from pclora_lab.ui.widgets.page import Page

said = HTML()
said.add_class("said")


def say(what):
    return lambda value: setattr(said, "value", f"{what}: {value}")


config = RunConfig(method=PCLoRAConfig(rank=8))
living = LivingLayer(say("layer"), say("lambda"), say("rank"))
living.show(config, *counted(config), rank_can_be_set=True)
names = [layer["name"] for layer in living.widget.layers]
rows = [
    {"phase": "fade", "step": step, "lam": lam, "base_held": lam > 0,
     "layer_base_share": {name: lam * share for name in names}}
    for step, lam, share in ((0, 1.0, 1.0), (120, 0.5, 0.74), (180, 0.0, 0.0))
]
step = 0


def advance(_):
    global step
    step += 1
    living.widget.rank_can_be_set = False
    living.update(rows[:step], lambda_can_be_set=rows[step - 1]["base_held"])


button = Button(description="next frame")
button.on_click(advance)
boxes = [Box([living.widget], layout=Layout(width=f"{w}px", flex="none")) for w in (300, 460)]
lab = VBox([Page(), button, said, *boxes])
lab.add_class("pclora-lab")
lab""",
    """from pclora_lab.methods.registry import METHODS

others = []
for name in ("svd", "lora", "snella", "full"):
    config = RunConfig(method=METHODS[name].default_config())
    other = LivingLayer()
    other.show(config, *counted(config))
    densities = {layer["name"]: 0.25 for layer in other.widget.layers}
    other.update([{"phase": "fade", "step": 5, "layer_density": densities}])
    others.append(Box([other.widget], layout=Layout(width="300px", flex="none")))
VBox(others)""",
)
OTHERS = (
    (2, "blocks.0.attn.qkv: 96 × 288, rank ", {"A", "B"}),
    (3, "blocks.0.attn.qkv: 96 × 288, shares not measured, rank ", {"W", "A", "B"}),
    (4, "blocks.0.attn.qkv: 96 × 288, 25% of the weights may change", {"W", "ΔW"}),
)
# Text over text, over a handle, or over a thing that is not drawn under it.
OVERLAPS = """view => {
    const shown = [...view.querySelectorAll("text, circle[r='10']")].filter(e =>
        e.tagName === "circle" || e.textContent).map(e => [e.textContent || "sum",
            e.getBoundingClientRect()]);
    const heads = [...view.querySelectorAll(".pclora-layer-line > span")].filter(e =>
        e.textContent).map(e => [e.textContent, e.getBoundingClientRect()]);
    const all = [...shown, ...heads], found = [];
    all.forEach(([a, p], i) => all.slice(i + 1).forEach(([b, q]) => {
        const isInside = a === "sum" && b === "+" || a === "+" && b === "sum";
        if (!isInside && p.left < q.right - 1 && q.left < p.right - 1
            && p.top < q.bottom - 1 && q.top < p.bottom - 1) found.push([a, b]);
    }));
    const room = view.getBoundingClientRect();
    for (const [text, box] of all)
        if (box.left < room.left - 1 || box.right > room.right + 1 || box.bottom > room.bottom + 1)
            found.push([text, "the edge"]);
    return found;
}"""
CONTRASTS = """view => {
    const numbers = color => color.match(/[\\d.]+/g).map(Number);
    const over = (top, alpha, below) => below.map((b, i) => alpha * top[i] + (1 - alpha) * b);
    const light = c => c.map(v => v / 255).map(v =>
        v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const probe = document.createElement("i");
    probe.style.color = "var(--jp-layout-color0)";
    view.append(probe);
    const page = numbers(getComputedStyle(probe).color).slice(0, 3);
    probe.remove();
    const boxes = [...view.querySelectorAll("rect.box")];
    return [...view.querySelectorAll("text, .pclora-layer-line > span")].filter(e => e.textContent)
        .map(e => {
            const { left, top, width, height } = e.getBoundingClientRect();
            const [x, y] = [left + width / 2, top + height / 2];
            let back = page;
            for (const box of boxes) {
                const b = box.getBoundingClientRect(), style = getComputedStyle(box);
                const isOn = b.left < x && x < b.right && b.top < y && y < b.bottom;
                if (isOn && style.fill.startsWith("rgb"))
                    back = over(numbers(style.fill), Number(style.fillOpacity), back);
            }
            const ink = numbers(getComputedStyle(e)[e.tagName === "text" ? "fill" : "color"]);
            const pair = [light(over(ink, ink[3] ?? 1, back)), light(back)].sort((a, b) => a - b);
            return [e.textContent, (pair[1] + 0.05) / (pair[0] + 0.05)];
        });
}"""


def view(page: Page, width: int) -> Locator:
    return page.locator(".pclora-layer").nth([NARROW, WIDE].index(width))


@pytest.fixture(scope="module", params=themes("light"))
def theme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def page(theme: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with run_notebook(tmp_path_factory.mktemp(theme), CELLS, dark=theme == "dark") as page:
        page.emulate_media(reduced_motion="reduce")
        page.locator(".pclora-layer [role=option]").nth(5 * 16 - 1).wait_for()
        view(page, WIDE).scroll_into_view_if_needed()
        yield page


def figure(page: Page, width: int = WIDE) -> Locator:
    return view(page, width).locator("> [role=group]")


def handle(page: Page, width: int, name: str) -> Locator:
    return view(page, width).get_by_role("slider", name=name)


def fits(page: Page, theme: str, name: str) -> None:
    """Nothing covers anything, and all text can be read, as wide as both views are."""
    for width in (NARROW, WIDE):
        assert view(page, width).evaluate("view => view.clientWidth") == width
        assert view(page, width).evaluate(OVERLAPS) == []
        weak = [pair for pair in view(page, width).evaluate(CONTRASTS) if pair[1] < 4.5]
        assert weak == []
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/layer_{theme}_{name}.png")


def drag(page: Page, what: Locator, dx: int, dy: int) -> None:
    box = what.locator("rect").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y + dy / 2)
    page.mouse.move(x + dx, y + dy)
    page.mouse.up()


def test_before_training_the_rank_is_shown_and_no_share(page: Page, theme: str) -> None:
    expect(figure(page)).to_have_attribute(
        "aria-label",
        "blocks.0.attn.qkv: 96 × 288, share of the base not measured yet, rank 8",
    )
    assert "%" not in view(page, WIDE).inner_text()
    fits(page, theme, "0_before")


def test_the_rank_is_set_by_dragging_and_by_keys(page: Page) -> None:
    edge = handle(page, NARROW, "rank of all layers")
    drag(page, edge, 40, 0)
    expect(page.locator(".said")).to_have_text("rank: 22")
    for width in (NARROW, WIDE):
        expect(handle(page, width, "rank of all layers")).to_have_attribute("aria-valuenow", "22")
    for key, rank in (("ArrowRight", 23), ("Shift+ArrowDown", 13), ("End", 47), ("Home", 1)):
        page.keyboard.press(key)
        expect(page.locator(".said")).to_have_text(f"rank: {rank}")
        expect(edge).to_have_attribute("aria-valuetext", f"rank {rank} of at most 47")
    expect(figure(page)).to_have_attribute("aria-label", re.compile("rank 1$"))


def test_areas_are_numbers_of_weights(page: Page) -> None:
    page.keyboard.press("End")
    expect(page.locator(".said")).to_have_text("rank: 47")
    areas = view(page, WIDE).evaluate(
        """view => [...view.querySelectorAll("svg > g rect")].slice(0, 4)
            .map(r => r.getAttribute("width") * r.getAttribute("height"))"""
    )
    whole, _, a, b = areas
    assert abs(a / whole - 47 / 288) < 0.01 and abs(b / whole - 47 / 96) < 0.01


def test_a_frame_of_the_run_is_drawn(page: Page, theme: str) -> None:
    page.get_by_role("button", name="next frame").click()
    told = "96 × 288, 100% of the output comes from the base, rank 47, λ 1.00"
    expect(figure(page)).to_have_attribute("aria-label", f"blocks.0.attn.qkv: {told}")
    fits(page, theme, "1_begun")
    page.get_by_role("button", name="next frame").click()
    told = "96 × 288, 37% of the output comes from the base, rank 47, λ 0.50"
    expect(figure(page)).to_have_attribute("aria-label", f"blocks.0.attn.qkv: {told}")
    assert {"37%", "63%", "λ 0.50", "shares at step 120"} <= set(
        view(page, WIDE).locator("text, .pclora-layer-line > span").all_text_contents()
    )
    widths = (
        view(page, WIDE)
        .locator("path.flow")
        .evaluate_all("paths => paths.map(path => Number(path.getAttribute('stroke-width')))")
    )
    assert [round(width / sum(widths[1:3]), 2) for width in widths[1:3]] == [0.37, 0.63]
    assert handle(page, WIDE, "rank of all layers").count() == 0
    fits(page, theme, "2_fading")


def test_lambda_is_set_by_dragging_w_and_by_keys(page: Page) -> None:
    base = handle(page, NARROW, "λ")
    drag(page, base, 0, -26)
    expect(page.locator(".said")).to_have_text("lambda: 0.7")
    expect(handle(page, WIDE, "λ")).to_have_attribute("aria-valuenow", "0.7")
    for key, lam in (("ArrowUp", "0.71"), ("PageDown", "0.61"), ("End", "1"), ("Home", "0")):
        page.keyboard.press(key)
        expect(base).to_have_attribute("aria-valuetext", f"λ {float(lam):.2f}")
        expect(page.locator(".said")).to_have_text(re.compile(rf"^lambda: {lam}(\.0)?$"))


def test_a_hand_that_is_faster_than_the_kernel_keeps_what_it_did(page: Page) -> None:
    for _ in range(30):
        page.keyboard.press("ArrowUp", delay=15)
    expect(page.locator(".said")).to_have_text("lambda: 0.3")
    expect(handle(page, NARROW, "λ")).to_have_attribute("aria-valuenow", "0.3")


def test_keys_on_a_handle_are_no_keys_of_jupyterlab(page: Page) -> None:
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    handle(page, NARROW, "λ").focus()
    for key in ("x", "a", "b"):
        page.keyboard.press(key)
    assert cells.count() == len(CELLS)


def test_a_layer_is_chosen_by_a_click_and_by_keys(page: Page, theme: str) -> None:
    squares = view(page, NARROW).get_by_role("option")
    squares.nth(6).click()
    expect(page.locator(".said")).to_have_text("layer: blocks.1.mlp.fc1")
    expect(figure(page)).to_have_attribute("aria-label", re.compile("^blocks.1.mlp.fc1: 96 × 384"))
    fits(page, theme, "3_chosen")
    for key, name in (
        ("ArrowRight", "blocks.2.mlp.fc1"), ("ArrowDown", "blocks.2.mlp.fc2"),
        ("ArrowDown", "blocks.2.mlp.fc2"), ("Home", "blocks.0.attn.qkv"),
        ("End", "blocks.3.mlp.fc2"), ("ArrowLeft", "blocks.2.mlp.fc2"),
    ):  # fmt: skip
        page.keyboard.press(key)
        expect(page.locator(".said")).to_have_text(f"layer: {name}")
        label = page.locator(":focus").get_attribute("aria-label")
        assert label.startswith(f"{name}, ") and "37% of the output" in label
    assert squares.evaluate_all("all => all.filter(s => s.tabIndex === 0).length") == 1
    fits(page, theme, "4_tall")


def test_a_base_that_has_gone_is_an_empty_outline(page: Page, theme: str) -> None:
    page.get_by_role("button", name="next frame").click()
    expect(figure(page)).to_have_attribute("aria-label", re.compile("the base is gone, rank 47$"))
    outline = view(page, WIDE).locator("rect.base.gone")
    assert outline.evaluate("r => getComputedStyle(r).fillOpacity") == "0"
    assert outline.evaluate("r => getComputedStyle(r).strokeDasharray") != "none"
    assert view(page, WIDE).locator("path.base[d]").count() == 0
    assert handle(page, WIDE, "λ").count() == 0
    fits(page, theme, "5_gone")


@pytest.mark.parametrize(("place", "told", "parts"), OTHERS)
def test_other_methods_show_what_they_have(page: Page, place: int, told: str, parts: set) -> None:
    other = page.locator(".pclora-layer").nth(place)
    assert other.locator("> [role=group]").get_attribute("aria-label").startswith(told)
    texts = {text.split(",")[0].split(" ")[0] for text in other.locator("text").all_text_contents()}
    assert parts <= texts and texts - parts - {"x", "y", "+", "96", "25%", ""} == set()
    assert other.get_by_role("slider").count() == 0
    assert other.evaluate(OVERLAPS) == []
    assert [pair for pair in other.evaluate(CONTRASTS) if pair[1] < 4.5] == []


def test_a_method_without_such_a_layer_says_so(page: Page) -> None:
    note = page.locator(".pclora-layer").nth(5)
    assert note.inner_text() == "full fine-tuning replaces no layer: there is none to show."
    assert note.locator("svg").first.is_hidden()
