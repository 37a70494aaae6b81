"""The picture of a layer without a browser: what it believes of a page, and what it sends."""

import pytest

from pclora_lab.plots.palette import COLORS, PAGES, contrast
from pclora_lab.plots.theme import in_theme
from pclora_lab.ui.widgets.layer_picture import LayerPicture

NAMES = ("blocks.0.fc1", "blocks.0.fc2")


@pytest.fixture
def heard():
    return []


@pytest.fixture
def picture(heard):
    made = LayerPicture(heard.append, heard.append, heard.append)
    made.layers = [{"name": name, "ins": 8, "outs": 16} for name in NAMES]
    made.ranks, made.chosen = [2, 2], NAMES[0]
    made.lambda_can_be_set = made.rank_can_be_set = True
    made.largest_rank = 5
    return made


def told(picture, event, **content):
    picture._handle_custom_msg({"event": event, **content}, [])


def test_a_layer_that_is_clicked_is_chosen_and_told(picture, heard):
    told(picture, "choose", name=NAMES[1])
    assert picture.chosen == NAMES[1] and heard == [NAMES[1]]


@pytest.mark.parametrize("name", ["blocks.7.fc1", "", None, 3, ["blocks.0.fc2"]])
def test_a_layer_that_there_is_not_is_not_chosen(picture, heard, name):
    told(picture, "choose", name=name)
    assert picture.chosen == NAMES[0] and heard == []


@pytest.mark.parametrize("lam", [0, 1, 0.25])
def test_lambda_is_told_and_shown(picture, heard, lam):
    told(picture, "lambda", value=lam)
    assert heard == [lam] and picture.lam == lam and type(heard[0]) is float


@pytest.mark.parametrize("lam", [-0.1, 1.01, float("nan"), float("inf"), None, "0.5", True, [0.5]])
def test_what_is_no_lambda_is_not_believed(picture, heard, lam):
    told(picture, "lambda", value=lam)
    assert heard == [] and picture.lam is None


@pytest.mark.parametrize("rank", [1, 5])
def test_a_rank_is_told_and_shown_for_all_layers(picture, heard, rank):
    told(picture, "rank", value=rank)
    assert heard == [rank] and picture.ranks == [rank, rank]


@pytest.mark.parametrize("rank", [0, 6, -1, 2.0, True, None, "3", 10**400])
def test_what_is_no_rank_is_not_believed(picture, heard, rank):
    told(picture, "rank", value=rank)
    assert heard == [] and picture.ranks == [2, 2]


def test_nothing_is_set_that_may_not_be_set_now(picture, heard):
    picture.lambda_can_be_set = picture.rank_can_be_set = False
    told(picture, "lambda", value=0.5)
    told(picture, "rank", value=3)
    assert heard == [] and picture.lam is None and picture.ranks == [2, 2]


@pytest.mark.parametrize("content", ["choose", None, {}, {"event": "rank"}, {"event": ["lambda"]}])
def test_other_messages_are_none_of_its_own(picture, heard, content):
    picture._handle_custom_msg(content, [])
    assert heard == []


def test_the_script_puts_names_into_the_page_as_text_only():
    assert "textContent" in LayerPicture._esm
    dangerous = ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(")
    assert [word for word in dangerous if word in LayerPicture._esm] == []


def test_its_colors_are_the_palettes_and_lines_are_seen_on_both_pages():
    light, dark = LayerPicture._css.split("\n")[:2]
    for css, page in ((light, PAGES.light), (dark, PAGES.dark)):
        assert COLORS["base"] in css and in_theme(COLORS["adapter"], page == PAGES.dark) in css
        hues = [part.split(": ")[1][:7] for part in css.split("{")[1].split(";")]
        assert len(hues) == 3
        assert min(contrast(hue, page) for hue in hues) >= 3
