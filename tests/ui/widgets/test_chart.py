"""A chart sends the whole figure, and plotly's script once for all charts."""

import gzip
import json

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import pytest

from pclora_lab.ui.views.allocation_view import allocation_widget
from pclora_lab.ui.widgets import chart
from pclora_lab.ui.widgets.chart import Chart, PlotlyScript, plotly_script


def line(**more):
    return Chart(go.Figure(go.Scatter(x=np.arange(3), y=[1.0, float("nan"), 2.0])), **more)


def spec(chart):
    return json.loads(chart.spec)


def clicked(chart, curve, point, **more):
    content = {"event": "click", "curve": curve, "point": point, "x": 1, "y": "a", **more}
    chart._handle_custom_msg(content, [])


def test_the_script_is_plotlys_own_and_travels_once():
    first, second = line(), allocation_widget()
    assert first.script is second.script is plotly_script()
    text = gzip.decompress(first.script.packed).decode()
    assert "plotly.js v" in text[:200] and len(first.script.packed) < 2e6
    state = first.get_state()
    assert state["script"] == f"IPY_MODEL_{first.script.model_id}"
    assert sum(len(str(value)) for value in state.values()) < 20_000
    assert "export async function render" in first.script.code


def test_a_script_that_was_closed_is_made_anew(monkeypatch):
    monkeypatch.setattr(chart, "_scripts", [])  # that of other charts stays open
    before = line()
    before.script.close()
    again = line()
    assert isinstance(again.script, PlotlyScript) and again.script.comm is not None
    for made in (before, again):  # or a page would ask for a script in vain
        made.close()


def test_a_page_is_sent_the_whole_figure_whenever_it_has_changed():
    chart, sent = line(), []
    chart.observe(lambda change: sent.append(json.loads(change["new"])), "spec")
    with chart.changing() as figure:
        figure.data[0].y = [3, 4, 5]
        figure.layout.title.text = "now"
        assert not sent
    assert [s["data"][0]["y"] for s in sent] == [[3, 4, 5]]
    assert sent[0]["layout"]["title"]["text"] == "now"


def test_numbers_that_are_none_are_gaps():
    assert spec(line())["data"][0]["y"] == [1.0, None, 2.0]


def test_what_a_person_zoomed_stays_until_the_figure_says_otherwise():
    assert spec(line())["layout"]["uirevision"] == "first"
    chart = Chart(go.Figure(layout={"uirevision": "run 3"}))
    assert spec(chart)["layout"]["uirevision"] == "run 3"


def test_a_click_is_told_as_it_came():
    chart, told = line(), []
    chart.on_click(told.append)
    clicked(chart, 0, 2)
    assert told == [{"curve": 0, "point": 2, "x": 1, "y": "a"}]


@pytest.mark.parametrize(
    ("curve", "point"), [(1, 0), (-1, 0), (None, 0), ("0", 0), (0, -1), (0, None), (0, "x")]
)
def test_a_click_that_can_not_be_is_not_told(curve, point):
    chart, told = line(), []
    chart.on_click(told.append)
    clicked(chart, curve, point)
    chart._handle_custom_msg("click", [])
    chart._handle_custom_msg({"event": "other", "curve": 0, "point": 0}, [])
    assert told == []


def test_it_has_a_name_for_readers_who_can_not_see_it():
    assert line(label="loss over steps").label == "loss over steps"
    assert all(chart.label for chart in (allocation_widget(),))


def test_it_takes_the_width_there_is():
    assert isinstance(line().layout, widgets.Layout) and line().layout.width == "100%"
