"""A curve that is drawn by hand: points to drag, or to move with the keyboard."""

from collections.abc import Sequence
from pathlib import Path

import anywidget
import traitlets

from pclora_lab.methods.pclora.schedules import check_schedule
from pclora_lab.plots.palette import COLORS

__all__ = ["CurveEditor"]

_STYLE = """
.pclora-curve-frame { fill: var(--jp-layout-color1, transparent); stroke: #888; cursor: crosshair; }
.pclora-curve-text { font-size: 11px; fill: currentColor; }
.pclora-curve-point { cursor: grab; touch-action: none; }
.pclora-curve-point:focus { stroke: currentColor; stroke-width: 3; outline: none; }
.pclora-curve svg { color: var(--jp-ui-font-color1, currentColor); touch-action: none; }
"""


class CurveEditor(anywidget.AnyWidget):
    """Points of λ over the training.

    The first point stays at the start, the last one at λ = 0: what is drawn can be compressed.
    A double click adds a point or takes one away.

    Args:
        points: ``(progress, λ)``, as :func:`~pclora_lab.methods.pclora.schedules.check_schedule`
            wants them.

    Attributes:
        points: the same as lists, newest state; observe it to hear of changes.
        monotone: whether λ must not rise.
        most: largest number of points.

    Raises:
        ValueError: points that are no schedule.

    Example:
        >>> CurveEditor([(0, 1), (0.6, 0)]).points
        [[0.0, 1.0], [0.6, 0.0]]
    """

    _esm = Path(__file__).with_name("curve_editor.js")
    _css = _STYLE

    points: "traitlets.List[list[float]]" = traitlets.List().tag(sync=True)
    monotone = traitlets.Bool(True).tag(sync=True)
    most = traitlets.Int(12).tag(sync=True)
    color = traitlets.Unicode(COLORS["base"]).tag(sync=True)

    def __init__(self, points: Sequence[tuple[float, float]], *, monotone: bool = True) -> None:
        checked = check_schedule(points, may_rise=not monotone)
        super().__init__(points=[list(point) for point in checked], monotone=monotone)

    def show(self, points: Sequence[tuple[float, float]]) -> None:
        """Draw other points."""
        self.points = [[float(progress), float(lam)] for progress, lam in points]
