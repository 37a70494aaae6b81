"""The theme: visible on both pages, distinguishable without color vision, the same everywhere."""

import io
import itertools
import threading

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from pclora_lab.course.figures import methods as plots_methods
from pclora_lab.course.figures import records
from pclora_lab.methods.registry import METHODS
from pclora_lab.plots import history, theme
from pclora_lab.plots.figure import NotebookFigure
from pclora_lab.plots.method_styles import method_styles
from pclora_lab.plots.palette import COLORS, HUES, PAGES, contrast
from pclora_lab.plots.theme import apply_theme, in_theme, use_theme
from pclora_lab.ui.settings import previews as svg
from pclora_lab.ui.views.allocation_view import allocation_widget
from pclora_lab.ui.widgets.page import Page

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "full": np.eye(3),
    "protan": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deutan": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@pytest.fixture(autouse=True)
def light_again():
    yield
    use_theme("light")


def seen(color: str, sight: str) -> np.ndarray:
    """CIELAB coordinates of a color as a person with that sight sees it."""
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    t = TO_XYZ @ np.clip(SIGHT[sight] @ linear, 0, 1) / TO_XYZ.sum(1)
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("page", [0, 1], ids=["light", "dark"])
def test_every_line_stands_out_from_its_page(page):
    faint = {n: contrast(hue[page], PAGES[page]) for n, hue in HUES.items()}
    assert {n: ratio for n, ratio in faint.items() if ratio < 3} == {}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("page", [0, 1], ids=["light", "dark"])
def test_no_two_methods_look_the_same(page, sight):
    colors = {name: in_theme(style.color, bool(page)) for name, style in method_styles().items()}
    colors["teacher"] = in_theme(COLORS["teacher"], bool(page))
    for (one, a), (other, b) in itertools.combinations(colors.items(), 2):
        distance = np.linalg.norm(seen(a, sight) - seen(b, sight))
        assert distance > 10, f"{one} {a} and {other} {b}: {distance:.1f}"


def test_contrast_is_wcags():
    # Worked examples of the WCAG working group: #767676 is the lightest gray with 4.5:1 on white.
    assert contrast("#767676", "#FFFFFF") == 4.54
    assert contrast("#777777", "#FFFFFF") == 4.48


def test_every_method_has_a_color_and_a_mark_of_its_own():
    styles = method_styles().values()
    assert len(styles) == len(METHODS)
    for kind in ("title", "color", "marker"):
        assert len({getattr(style, kind) for style in styles}) == len(METHODS)


def test_a_variant_leads_to_one_hue_only():
    for page in (False, True):
        for name, hue in HUES.items():
            assert in_theme(hue.light, page) == in_theme(hue.dark, page) == hue[page], name


def test_pictures_beside_the_form_are_seen_on_both_pages():
    for name in ("base", "adapter", "guide"):
        for page in PAGES:
            assert contrast(COLORS[name], page) >= 3
    assert COLORS["base"] in svg.schedule_svg("sine", 0.6)


ROWS = [
    {"phase": "fade", "step": i, "steps": 4, "progress": i / 4, "lam": 1 - i / 4, "task": 1.0,
     "accuracy": 0.5, "accuracy_if_base_removed": 0.4, "layer_density": {"a": 0.5, "b": 0.2}}
    for i in range(4)
]  # fmt: skip
FIGURES = {
    "history": lambda: history.history_figure(ROWS),
    "schedule": records.schedule_figure,
    "starts": lambda: records.initialization_figure([{"start": "svd", "history": ROWS}]),
    "spectra": lambda: plots_methods.spectra_figure({"blocks.0.fc": [4.0, 2.0, 1.0]}),
    "cut": lambda: plots_methods.cut_cost_figure({"plain": {"fc": 0.5}}),
    "kernel": lambda: plots_methods.kernel_figure({"diagonal": np.diag([4.0, 1.0])}),
    "rules": plots_methods.sparsifier_figure,
    "competition": lambda: plots_methods.allocation_figure(ROWS),
    "takeaway": lambda: plots_methods.takeaway_figure({"pclora": ROWS}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_keeps_the_theme_it_was_made_in(name):
    use_theme("dark")
    figure = FIGURES[name]()
    use_theme("light")
    saved = io.BytesIO()
    figure.savefig(saved, format="png", dpi=50)
    for picture in (saved, io.BytesIO(figure.png())):
        assert Image.open(picture).convert("RGB").getpixel((0, 0)) == (0x11, 0x11, 0x11)
    texts = [t for axis in figure.axes for t in axis.get_xticklabels() + axis.get_yticklabels()]
    texts += [axis.xaxis.label for axis in figure.axes] + [axis.title for axis in figure.axes]
    texts += [t for axis in figure.axes if (box := axis.get_legend()) for t in box.get_texts()]
    assert texts and {text.get_color() for text in texts} == {"#E6E6E6"}
    lines = [line for axis in figure.axes for line in axis.lines]
    assert all(in_theme(c, True) == c for line in lines if isinstance(c := line.get_color(), str))


def test_a_figure_that_a_notebook_fills_itself_is_themed_too():
    use_theme("dark")
    figure = NotebookFigure(figsize=(3, 2))
    use_theme("light")
    axis = figure.subplots()
    axis.plot([0, 1], [1, 0])
    axis.set(title="title", xlabel="step")
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    texts = [*axis.get_xticklabels(), *axis.get_yticklabels(), axis.title, axis.xaxis.label]
    assert {text.get_color() for text in texts} == {"#E6E6E6"}


def test_the_light_theme_is_dark_on_white():
    picture = Image.open(io.BytesIO(records.schedule_figure().png())).convert("RGB")
    assert picture.getpixel((0, 0)) == (255, 255, 255)


def test_two_threads_draw_one_after_the_other():
    # matplotlib's parameters belong to the process: left in turns, one theme would stay.
    entered = threading.Event()

    def enter() -> None:
        with theme.matplotlib_theme(dark=False):
            entered.set()

    thread = threading.Thread(target=enter)
    with theme.matplotlib_theme(dark=True):
        thread.start()
        assert not entered.wait(0.3)
    assert entered.wait(20)
    thread.join()


def drawn_in_a_cell():
    """A figure as a lesson's cell draws it: our light colors, and matplotlib's for the rest."""
    figure = NotebookFigure(figsize=(3, 2))
    axis = figure.subplots()
    axis.plot([0, 1], color=COLORS["adapter"], label="A")
    axis.plot([0.5], [0.5], "ko", label="rank 8")
    axis.bar([0], [1], color=COLORS["task"], alpha=0.5, label="parts")
    axis.annotate("", (1, 1), (0, 0), arrowprops={"arrowstyle": "->", "color": COLORS["teacher"]})
    axis.text(0, 0.5, "said", color=COLORS["teacher"])
    axis.text(0, 0.1, "on yellow", color="black")
    axis.plot([0, 1], color="red")
    axis.legend()
    return figure, axis


def colors_of(figure, axis):
    lines, legend = axis.lines, axis.get_legend()
    named = [legend.get_frame().get_facecolor(), *(text.get_color() for text in legend.texts)]
    texts = [axis.texts[0].arrow_patch.get_edgecolor(), *(t.get_color() for t in axis.texts[1:])]
    marks = [lines[0].get_color(), lines[1].get_markerfacecolor(), lines[2].get_color()]
    return [to_hex(color) for color in (*marks, axis.patches[0].get_facecolor(), *texts, *named)]


def test_what_a_cell_draws_is_seen_on_a_dark_page():
    figure, axis = drawn_in_a_cell()
    before = colors_of(figure, axis)
    figure.png()
    assert colors_of(figure, axis) == before
    use_theme("dark")
    figure, axis = drawn_in_a_cell()
    first = figure.png()
    hues = [HUES[name].dark for name in ("vermillion", "ink", "orange", "gray", "gray", "ink")]
    line, mark, bar, arrow, said, ink = (hue.lower() for hue in hues)
    around = [PAGES.dark, ink, ink, ink]
    assert colors_of(figure, axis) == [
        line, mark, "#ff0000", bar, arrow, said, "#000000", *around
    ]  # fmt: skip
    assert axis.patches[0].get_facecolor()[3] == 0.5
    assert figure.png() == first


@pytest.mark.parametrize("kind", [go.Figure, go.FigureWidget])
def test_a_plotly_figure_switches_and_comes_back(kind):
    figure = kind(go.Scatter(x=[1], y=[2], line={"color": COLORS["teacher"]}))
    figure.add_scatter(x=[1], y=[2], marker={"color": COLORS["share"]}, line={"color": "red"})
    figure.update_layout(legend={}, legend2={"bgcolor": "white"})
    figure.add_vline(1, line_color=COLORS["guide"])
    light = apply_theme(figure, dark=False).to_json()
    apply_theme(figure, dark=True)
    assert figure.data[0].line.color == HUES["gray"].dark
    assert (figure.data[1].marker.color, figure.data[1].line.color) == (HUES["sky"].dark, "red")
    legends = figure.layout.legend2, figure.layout.template.layout.legend
    assert [legend.bgcolor for legend in legends] == ["rgba(17,17,17,0.75)"] * 2
    assert figure.layout.shapes[0].line.color == HUES["guide"].dark
    assert figure.layout.template.layout.font.color == "#E6E6E6"
    assert apply_theme(figure, dark=False).to_json() == light


def test_the_page_shows_through_plotly_figures():
    for dark in (False, True):
        layout = theme.plotly_template(dark).layout
        assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    use_theme("dark")
    assert allocation_widget().figure.layout.template.layout.font.color == "#E6E6E6"


def test_an_unknown_theme_is_refused():
    with pytest.raises(ValueError, match="theme is 'night': use one of light, dark"):
        use_theme("night")


def test_a_page_tells_what_the_browser_said():
    page, told = Page(), []
    page.observe(lambda change: told.append(change["new"]), "dark")
    for content in ({"dark": True}, {"dark": True}, {"dark": "no"}, {}, "dark"):
        page._handle_custom_msg(content, [])
    assert told == [True] and page.alive
