"""The lab's page: the form folds away, another run leads back, a cell's run is followed."""

import pytest
from waiting import until

from pclora_lab import RunConfig, Session
from pclora_lab.runs.reader import load_run
from pclora_lab.ui.arrangement import CURVES, RANKS, RUNS
from pclora_lab.ui.lab import Lab

QUICK = RunConfig(steps=8, evaluations=2, eval_images=32, device="cpu")


@pytest.fixture
def lab(tmp_path):
    lab = Lab(QUICK, tmp_path)
    yield lab
    if lab.session is not None and lab.session.is_live:
        lab.session.stop()
    lab.close()


def is_shown(widget):
    return widget.layout.display != "none"


def test_a_new_lab_shows_the_form_and_what_it_would_give(lab):
    assert lab.arrangement.has_rail and lab.tabs.selected_index == RANKS
    assert "−88.2%" in lab.shown.tiles.size.value
    lab.controls.rank.value = 16
    assert "−88.2%" not in lab.shown.tiles.size.value and "rank 16" in lab.arrangement.chips.value


def test_the_layer_follows_the_form_and_its_edge_sets_the_rank(lab):
    picture = lab.views.living.widget
    assert picture.rank_can_be_set and set(picture.ranks) == {8}
    lab.controls.rank.value = 12
    assert set(picture.ranks) == {12}
    picture._take_in(picture, {"event": "rank", "value": 5}, [])
    assert lab.controls.rank.value == 5 and "rank 5" in lab.arrangement.chips.value


def test_the_layers_base_is_dragged_while_it_fades(lab):
    picture = lab.views.living.widget
    lab.controls.steps.value = 3000
    lab.buttons.train.click()
    until(lambda: picture.lambda_can_be_set)
    assert not picture.rank_can_be_set
    picture._take_in(picture, {"event": "lambda", "value": 0.6}, [])
    until(lambda: lab.session.lambda_override == 0.6)
    until(lambda: picture.lam == 0.6 and any(picture.shares))
    assert "in your hand" in lab.lambda_slider.text.value
    lab.tabs.selected_index = 1
    until(lambda: lab.views.layers.layer.options)
    picture._take_in(picture, {"event": "choose", "name": "blocks.1.mlp.fc1"}, [])
    assert lab.views.layers.layer.value == "blocks.1.mlp.fc1"


def test_training_folds_the_form_and_opens_the_curves(lab):
    lab.tabs.selected_index = RUNS
    lab.buttons.train.click()
    assert not lab.arrangement.has_rail and lab.tabs.selected_index == CURVES
    until(lambda: lab.buttons.status.value == "finished")
    lab.arrangement.edit.click()
    assert lab.arrangement.has_rail
    lab.arrangement.edit.click()
    assert not lab.arrangement.has_rail


def test_only_what_can_be_used_is_shown(lab):
    buttons = lab.buttons
    shown = lambda: [is_shown(b) for b in (buttons.train, buttons.pause, buttons.stop)]  # noqa: E731
    assert shown() == [True, False, False] and not is_shown(lab.exports.widget)
    lab.controls.steps.value = 3000
    buttons.train.click()
    until(lambda: shown() == [False, True, True])
    buttons.stop.click()
    until(lambda: buttons.status.value == "stopped")
    assert shown() == [True, True, False] and buttons.pause.description == "Resume"


def test_a_run_that_a_cell_has_started_is_followed_to_its_end(lab, tmp_path):
    session = Session(QUICK, tmp_path).start()
    assert lab.session is session
    until(lambda: lab.buttons.status.value == "finished")
    assert lab.shown.config == session.config and not lab.arrangement.has_rail
    assert len(lab.views.live.story.figure.data[0].x) == len(session.snapshot().rows)


def test_a_run_elsewhere_and_a_lab_that_is_closed_change_nothing(lab, tmp_path):
    Session(QUICK, tmp_path / "elsewhere").start().wait()
    assert lab.session is None
    lab.close()
    Session(QUICK, tmp_path).start().wait()
    assert lab.session is None


def test_a_way_back_to_the_run_that_is_going(lab, tmp_path):
    lab.buttons.train.click()
    until(lambda: lab.buttons.status.value == "finished")
    first = load_run(lab.session.folder)
    assert not is_shown(lab.shown.back)
    lab.controls.steps.value = 3000
    lab.buttons.train.click()
    until(lambda: "fading" in lab.buttons.status.value)
    lab.open(first)
    assert is_shown(lab.shown.back) and "test accuracy" in lab.shown.tiles.accuracy.value
    until(lambda: lab.buttons.status.value.startswith("another run is fading"))
    assert "λ 0.00" in lab.lambda_slider.text.value and lab.lambda_slider.slider.disabled
    assert "8 steps" in lab.arrangement.chips.value
    lab.shown.back.click()
    assert lab.opened is None and "3,000 steps" in lab.arrangement.chips.value
    until(lambda: not is_shown(lab.shown.back))


def test_a_watcher_that_fails_ends_no_run(lab, tmp_path, monkeypatch):
    def fail(run):
        raise RuntimeError("no page")

    monkeypatch.setattr(lab, "run_started", fail)
    with pytest.warns(UserWarning, match="can't follow the run: no page"):
        assert Session(QUICK, tmp_path).start().wait()["steps"] == 8
