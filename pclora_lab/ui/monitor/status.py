"""What a run is doing, as one line, and what came out, as a table."""

import html

from pclora_lab.methods.base import Method
from pclora_lab.runs.session_state import OVER, SessionState
from pclora_lab.runs.summary import result_lines
from pclora_lab.training.events import Result

__all__ = ["result_html", "spoken_status", "status_line"]

_PHASES = {
    "": "starting",
    "data": "reading data and model",
    "teacher": "fine-tuning the teacher",
    "waiting": "waiting for the teacher, which another run fine-tunes",
    "start": "preparing the start",
    "test": "measuring on the test split",
}
_WITHOUT_BASE = "training without the base"


def status_line(snapshot: SessionState, method: type[Method]) -> str:
    """State, phase, step and time left."""
    if snapshot.state in OVER:
        return snapshot.state
    line = _activity(snapshot, method)
    if snapshot.steps:
        line += f": step {snapshot.step} of {snapshot.steps}"
    if snapshot.eta_seconds is not None:
        line += f", {_duration(snapshot.eta_seconds)} left"
    return f"paused ({line})" if snapshot.state == "paused" else line


def spoken_status(snapshot: SessionState, method: type[Method]) -> str:
    """State and phase: what a screen reader tells when it changes, which is a few times a run."""
    if snapshot.state in OVER or snapshot.state == "paused":
        return snapshot.state
    return _activity(snapshot, method)


def _activity(snapshot: SessionState, method: type[Method]) -> str:
    stopping = "stopping, " if snapshot.stopping else ""
    done = {part.name: part.done for part in snapshot.parts}
    training = _WITHOUT_BASE if "after" in done and done.get("fade") == 1 else method.status_text
    return stopping + _PHASES.get(snapshot.phase, training)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def result_html(result: Result) -> str:
    """The final numbers; names and labels are shown as text."""
    cells = "".join(
        f'<div style="break-inside:avoid;display:flex;gap:10px"><span style="flex:0 0 170px">'
        f'{html.escape(label)}</span><b style="overflow-wrap:anywhere">{html.escape(value)}</b>'
        "</div>"
        for label, value in result_lines(result)
    )
    return f'<div style="line-height:1.5;columns:330px 2;max-width:840px">{cells}</div>'
