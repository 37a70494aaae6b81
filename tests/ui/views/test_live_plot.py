"""The live charts: what a timeline's cursor and a hand on λ need, and no more drawing than that."""

import json

from pclora_lab.data.cache import DataCache
from pclora_lab.methods.registry import METHODS
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.views.live_plot import LiveView
from pclora_lab.ui.views.views import RunViews
from pclora_lab.ui.widgets.page import Page

ROWS = [
    {"phase": "fade", "step": step, "lam": 1 - step / 40, "seconds": step / 10}
    for step in range(0, 41, 10)
]


def names(chart):
    drawn = json.loads(chart.spec)["data"]
    return [trace["name"] for trace in drawn if trace.get("visible", True)]


def test_the_timeline_redraws_no_curve():
    views = RunViews(Page(), DataCache())
    views.begin(None, RunConfig(steps=40), "a run")
    views.update(ROWS)
    axis, specs = views.live.axis, [chart.spec for chart in views.live.charts]
    assert axis.slider is views.timeline.slider and axis.steps == 40
    assert len(views.live.story.figure.data[0].x) == 5
    views.timeline.slider.value = 50
    assert views.timeline.until == 10
    assert [chart.spec for chart in views.live.charts] == specs


def test_all_charts_of_a_run_share_an_axis_that_one_of_them_switches():
    live = LiveView()
    assert {chart.axis for chart in live.charts} == {live.axis}
    assert [chart.chooses_axis for chart in live.charts] == [True, False]


def test_time_is_offered_where_it_was_recorded():
    live = LiveView()
    live.clear(40, METHODS["pclora"].metrics)
    assert live.axis.missing == "There are no points yet."
    live.update([{"phase": "fade", "step": 0}], 40)
    assert "has not recorded" in live.axis.missing
    live.update(ROWS, 40)
    assert live.axis.missing == "" and live.axis.clock["seconds"] == [0, 1, 2, 3, 4]


def test_lambda_by_hand_is_shaded_and_gone_with_the_run():
    live = LiveView()
    live.clear(40, METHODS["pclora"].metrics)
    held = [*ROWS[:3], {**ROWS[3], "overrides": [[15, 0.25]]}]
    live.update(held, 40)
    (shape,) = live.story.figure.layout.shapes
    assert (shape.x0, shape.x1) == (15, 30)
    by_hand = live.story.figure.data[names(live.story).index("λ held by hand")]
    assert by_hand.y[-1] == 0.25
    live.clear(40, METHODS["pclora"].metrics)
    assert live.story.figure.layout.shapes == ()
    live.clear(40, METHODS["lora"].metrics)
    assert "λ held by hand" not in names(live.story)
