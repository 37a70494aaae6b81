"""The bar of a run's parts: widths, marks, and names that fit the method."""

import re

from pclora_lab.runs.session_state import PartDone
from pclora_lab.ui.monitor.phases import PhaseBar


def words(bar):
    return re.findall(r"<span>([^<]+)</span>", bar.value)


def test_parts_are_as_wide_as_they_are_long():
    bar = PhaseBar()
    bar.show([PartDone("teacher", 0.25, 1.0), PartDone("fade", 0.75, 0.4)], fades=True)
    assert re.findall(r"flex-grow:([\d.]+)", bar.value) == ["0.250", "0.750"]
    assert re.findall(r"width:(\d+)%", bar.value) == ["100", "40"]
    assert 'aria-valuenow="55"' in bar.value and words(bar) == ["teacher ✓", "fade"]


def test_a_method_without_a_base_trains():
    bar = PhaseBar()
    bar.show([PartDone("fade", 0.9, 0.0), PartDone("test", 0.1, 0.0)], fades=False)
    assert words(bar) == ["training", "test"]


def test_without_a_plan_there_is_no_bar():
    bar = PhaseBar()
    bar.show([], fades=True)
    assert bar.value == ""
