"""Keys of the lab, as the kernel takes them."""

from pathlib import Path

import pytest

from pclora_lab import RunConfig
from pclora_lab.ui.lab import Lab


@pytest.fixture
def lab(tmp_path: Path):
    lab = Lab(RunConfig(steps=4), root=tmp_path)
    yield lab
    lab.close()


def press(lab: Lab, key: str, *, shift: bool = False) -> None:
    lab.page._take_in(lab.page, {"key": key, "shift": shift}, [])


def test_a_key_never_begins_a_run_nor_moves_what_nobody_can(lab: Lab) -> None:
    for key in (" ", "[", "]", "q", "Enter"):
        press(lab, key)
    assert lab.session is None and lab.message.value == ""
    assert lab.lambda_slider.slider.value == 1.0


def test_arrows_go_a_notch_or_ten_and_not_past_either_end(lab: Lab) -> None:
    timeline = lab.views.timeline
    timeline.begin(400)
    timeline.newest(200)
    press(lab, "ArrowRight")
    assert timeline.until is None, "nothing comes after the newest"
    press(lab, "ArrowLeft")
    assert timeline.until == 198
    press(lab, "ArrowLeft", shift=True)
    assert timeline.until == 178
    press(lab, "ArrowRight")
    assert timeline.until == 180
    for _ in range(12):
        press(lab, "ArrowLeft", shift=True)
    assert timeline.until == 0


def test_what_is_no_key_is_ignored(lab: Lab) -> None:
    for content in (None, "[", {"key": 3}, {"key": None, "shift": True}, {}):
        lab.page._take_in(lab.page, content, [])
