"""A metric describes itself, and a wrong description is seen where it stands."""

from dataclasses import FrozenInstanceError

import pytest

from pclora_lab.methods.metrics import Metric, Panel
from pclora_lab.methods.registry import METHODS, compared_methods
from pclora_lab.plots.curves import PANELS, first_panel, history_curves
from pclora_lab.plots.overlay import MOST_RUNS, overlay_figure


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"key": "rows kept"}, "'rows kept' is no name of a column"),
        ({"panel": 7}, "panel of rows is 7: use Panel with PROGRESS, ACCURACY, LOSS, COST"),
        ({"color": "#12"}, "color of rows is '#12': use a name such as blue"),
        ({"dash": "dashed"}, "dash of rows is 'dashed': use one of solid, dash, dot"),
        ({"overlay_dash": "-"}, "overlay_dash of rows is '-'"),
    ],
)
def test_a_wrong_description_is_refused(change, reason):
    values = {"key": "rows", "label": "rows", "panel": Panel.LOSS, "color": "blue", **change}
    with pytest.raises(ValueError, match=reason):
        Metric(**values)


def test_a_description_is_of_one_piece_and_can_be_compared():
    first, second = (Metric("rows", "rows", Panel.LOSS, "#00ff9A") for _ in range(2))
    assert first == second and len({first, second}) == 1
    with pytest.raises(FrozenInstanceError):
        first.color = "no color"
    assert (first.dash, first.markers, first.overlay_dash) == ("solid", False, "")


def test_every_metric_has_one_curve_in_its_panel():
    drawn = [(c.column, c.panel) for c in history_curves() if c.phase == "fade"]
    assert len(set(drawn)) == len(drawn)
    for method in METHODS.values():
        assert {(m.key, m.panel) for m in method.metrics} <= set(drawn)


def test_the_overlay_has_the_same_traces_for_any_runs():
    per_run = 1 + sum(bool(c.overlay_dash) for c in history_curves() if c.phase == "fade")
    assert len(overlay_figure().data) == MOST_RUNS * per_run


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("pclora", "Base-weight fade"),
        ("snella", "Weights that may change"),
        ("pela", "Repair, then fine-tuning"),
        ("lora", "Learning rate"),
    ],
)
def test_a_method_names_the_first_panel(name, title):
    assert first_panel(metric.key for metric in METHODS[name].metrics) == title


def test_the_default_comparison_is_what_the_methods_say():
    assert compared_methods() == ("pclora", "pela", "snella", "lora", "svd", "full")


def test_panels_are_counted_in_reading_order():
    assert [(panel.name, int(panel)) for panel in Panel] == [
        ("PROGRESS", 0), ("ACCURACY", 1), ("LOSS", 2), ("COST", 3)
    ]  # fmt: skip
    assert [int(panel) for panel in PANELS] == list(range(4))


def test_what_is_measured_now_and_then_has_a_mark_at_every_point():
    # The others are told at every step that is logged.
    measured = {"base_share", "accuracy_if_base_removed"}
    marked = {m.key for method in METHODS.values() for m in method.metrics if m.markers}
    assert marked == measured
