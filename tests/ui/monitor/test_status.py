"""The line that says what a run is doing."""

import pytest

from pclora_lab.methods.registry import METHODS
from pclora_lab.runs.session_state import PartDone, SessionState
from pclora_lab.ui.monitor.status import spoken_status, status_line

PCLORA = METHODS["pclora"]


def at(**facts) -> SessionState:
    facts = {"eta_seconds": None, "rows": (), "result": None, "error": None, **facts}
    return SessionState(**{"state": "running", "phase": "fade", "step": 7, "steps": 9, **facts})


@pytest.mark.parametrize(
    ("faded", "expected"), [(0.4, "fading the base"), (1.0, "training without the base")]
)
def test_after_the_fade_no_base_is_said_to_fade(faded, expected):
    snapshot = at(parts=(PartDone("fade", 0.5, faded), PartDone("after", 0.5, 0.0)))
    assert status_line(snapshot, PCLORA) == f"{expected}: step 7 of 9"
    assert spoken_status(snapshot, PCLORA) == expected


def test_a_run_whose_fade_lasts_to_the_end_fades_to_the_end():
    assert status_line(at(parts=(PartDone("fade", 1.0, 1.0),)), PCLORA).startswith("fading")


def test_what_is_spoken_does_not_change_with_every_step():
    spoken = {spoken_status(at(step=step, eta_seconds=step), PCLORA) for step in range(5)}
    assert spoken == {"fading the base"}
    assert spoken_status(at(state="paused"), PCLORA) == "paused"
    assert spoken_status(at(state="finished"), PCLORA) == "finished"
