"""Widgets end with whom they belong to."""

import ipywidgets as widgets
import pytest
from ipywidgets.widgets.widget import _instances
from waiting import until

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.runs.reader import scan_runs
from pclora_lab.runs.session import stop_all
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.closing import close_widgets, for_all, refill, widgets_of
from pclora_lab.ui.lab import Lab
from pclora_lab.ui.widgets.chart import plotly_script

QUICK = RunConfig(method=PCLoRAConfig(rank=8, init="svd"), steps=4, evaluations=1, eval_images=20)
HAND = RunConfig(steps=4, overrides=((1, 0.5),))


@pytest.fixture
def lab(tmp_path):
    yield Lab(QUICK, tmp_path)
    stop_all()


def alive():
    return len(_instances)


def test_a_lab_that_is_made_again_takes_the_place_of_the_last_one(lab, tmp_path):
    lab = Lab(QUICK, tmp_path)
    before = alive()
    for _ in range(3):
        lab = Lab(QUICK, tmp_path)
    assert alive() == before and lab.widget.comm is not None


def test_a_new_lab_stands_wherever_the_last_one_stood_and_no_page_waits_for_what_is_gone(
    lab, tmp_path
):
    shown, rail = lab.widget, lab.controls.widget
    again = Lab(QUICK, tmp_path)
    assert again.widget is shown and lab.widget is not shown and rail.comm is None
    assert again.page in shown.children and "pclora-with-rail" in shown._dom_classes
    # A page that is loaded asks for every open widget, with all that it refers to.
    for widget in list(_instances.values()):
        for name in widget.keys:
            value = getattr(widget, name, None)
            for part in value if isinstance(value, (list, tuple)) else [value]:
                assert not isinstance(part, widgets.Widget) or part.comm is not None, name


def test_all_that_a_lab_holds_is_closed_and_nothing_else(lab):
    other = widgets.Button()
    held = list(widgets_of(lab))
    assert len(held) > 100 and lab.views.layers.chart in held
    lab.close()
    assert {widget.comm for widget in held} == {None}
    assert other.comm is not None and plotly_script().comm is not None


def test_choosing_showing_and_opening_leave_nothing_behind(lab, tmp_path):
    for _ in range(2):
        lab.train()
        until(lambda: lab.buttons.status.value == "finished")
    runs = scan_runs(tmp_path)

    def use():
        for name in METHODS:
            lab.controls.method.value = name
        for config in (HAND, QUICK):
            lab.controls.show(config)
        for i, run in enumerate(runs):
            lab.open(run)
            lab.views.tabs.selected_index = i
        lab.tabs.selected_index = 4
        lab.browser.table.selected = [run.folder.name for run in runs]
        lab.browser.overlay_button.click()
        lab.browser.pareto.button.value = not lab.browser.pareto.button.value
        lab.controls.use_ranks({"blocks.0.attn.qkv": 4})
        lab.controls.use_ranks(None)

    use()
    before = alive()
    for _ in range(3):
        use()
    assert alive() == before


def test_what_is_for_all_outlives_its_users():
    shared = for_all(widgets.Layout(width="3px"))
    label = widgets.Label(layout=shared)
    close_widgets([label])
    assert label.comm is None and shared.comm is not None


def test_other_children_close_those_that_a_box_had():
    kept, gone, new = widgets.Label(), widgets.Label(), widgets.Label()
    box = widgets.VBox([kept, gone])
    refill(box, [kept, new])
    assert box.children == (kept, new)
    assert gone.comm is None and gone.layout.comm is None
    assert kept.comm is not None and new.comm is not None
