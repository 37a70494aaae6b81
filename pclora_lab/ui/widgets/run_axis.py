"""The x axis that the charts of one run share, and its timeline's cursor through them."""

from collections.abc import Iterable, Mapping
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets

from pclora_lab.plots.run_axis import step_seconds

__all__ = ["RunAxis"]

_NO_POINTS = "There are no points yet."
_NO_TIMES = "This run has not recorded when its steps were taken."


class RunAxis(anywidget.AnyWidget):
    """Steps or seconds on every x axis of a run; the page itself turns one into the other.

    A page moves its cursor with the slider and changes the unit at once, whatever the kernel is
    busy with.

    Args:
        slider: of the timeline, from 0 to its ``max`` for the whole run; None draws no cursor.

    Attributes:
        unit: ``step`` or ``time``, as a person chose it.
        steps: of the run, the right end of the slider; 0 while there is no run.
        clock: known ``steps`` and ``seconds``, two lists of one length.
        missing: why there is no time to choose; empty where there is.

    Example:
        >>> axis = RunAxis()
        >>> axis.show([{"phase": "fade", "step": 0, "seconds": 0.5}], steps=10)
        >>> axis.clock, axis.missing
        ({'steps': [0], 'seconds': [0.5]}, '')
    """

    _esm = "export default {};"

    unit = traitlets.Enum(("step", "time"), "step").tag(sync=True)
    steps = traitlets.Int(0).tag(sync=True)
    clock: Any = traitlets.Dict({"steps": [], "seconds": []}).tag(sync=True)
    missing = traitlets.Unicode(_NO_POINTS).tag(sync=True)
    slider = traitlets.Instance(widgets.IntSlider, allow_none=True).tag(
        sync=True, **widgets.widget_serialization
    )

    def __init__(self, slider: widgets.IntSlider | None = None) -> None:
        super().__init__(slider=slider)

    def show(self, rows: Iterable[Mapping[str, Any]], steps: int) -> None:
        """Tell the history so far, and how many steps the run takes."""
        rows = tuple(rows)
        taken, seconds = step_seconds(rows)
        missing = "" if taken else _NO_TIMES if rows else _NO_POINTS
        with self.hold_sync():
            self.steps, self.missing = steps, missing
            self.clock = {"steps": taken, "seconds": [round(value, 3) for value in seconds]}
