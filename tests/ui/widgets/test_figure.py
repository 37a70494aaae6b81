"""Figures that are drawn by a thread."""

import threading
from contextlib import contextmanager

import plotly.graph_objects as go
import pytest
from traitlets import HasTraits

from pclora_lab.ui.monitor.allocation_view import allocation_widget
from pclora_lab.ui.widgets.page import responsive


@pytest.mark.parametrize("make", [lambda: responsive(go.Figure()), allocation_widget])
def test_a_drawing_that_meets_a_message_of_the_browser_is_sent(make, monkeypatch):
    figure, sent = make(), []
    figure.add_scatter(x=[1], y=[1])
    figure.observe(lambda change: sent.append(change["new"]), "_py2js_update")
    hold, here = HasTraits.hold_trait_notifications, threading.current_thread()

    def draw():
        with figure.batch_update():
            figure.data[-1].x = [1, 2]

    thread = threading.Thread(target=draw)

    @contextmanager
    def held(self):
        with hold(self):
            yield
            if self is figure and threading.current_thread() is here:
                thread.start()
                thread.join(0.3)

    monkeypatch.setattr(HasTraits, "hold_trait_notifications", held)
    message = {"layout_delta": {}, "layout_edit_id": 0}
    figure.set_state({"_js2py_layoutDelta": message})
    thread.join()
    assert [each["style_data"]["x"] for each in sent if each] == [[[1, 2]]]
