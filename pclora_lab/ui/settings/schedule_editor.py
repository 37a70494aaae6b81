"""Draw a schedule: the chosen preset as a curve, whose points can be moved or typed."""

from collections.abc import Callable

import ipywidgets as widgets

from pclora_lab.fields import FieldError
from pclora_lab.methods.pclora.schedules import (
    SCHEDULES,
    Points,
    check_schedule,
    parse_points,
    schedule_notes,
    schedule_points,
)
from pclora_lab.ui.html import SMALL, MessageBox
from pclora_lab.ui.settings.option_fields import STYLE, WIDE
from pclora_lab.ui.widgets.curve_editor import CurveEditor
from pclora_lab.ui.widgets.field_row import FieldRow

__all__ = ["ScheduleEditor"]

_DRAWN = "drawn"


class ScheduleEditor:
    """Keeps the choice of a schedule, its curve and its points in step.

    Args:
        choice: the dropdown of schedules; drawn points become one more option of it.
        fade_end: q, where a preset ends; points carry their own end.
        may_rise: whether λ may go up again.
        on_change: called when what is typed is refused, or is right again.

    Attributes:
        curve: points to drag.
        typed: the same points as text.
        row: the text, with what is wrong with it.
        widget: to display.
    """

    def __init__(
        self,
        choice: widgets.Dropdown,
        fade_end: widgets.Widget,
        may_rise: widgets.Checkbox,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._choice, self._fade_end, self._may_rise = choice, fade_end, may_rise
        self._on_change, self._busy = on_change, False
        self._problem: ValueError | None = None
        self.curve = CurveEditor(self._points(), monotone=not may_rise.value)
        self.typed = widgets.Text(
            description="points",
            tooltip="progress:λ with commas in between, such as 0:1, 0.2:0.7, 0.6:0",
            continuous_update=False,
            style=STYLE,
            layout=WIDE,
        )
        self.typed.add_class("pclora-points")
        self.note = MessageBox(SMALL)
        self.note.add_class("pclora-schedule-note")
        self.curve.observe(self._dragged, "points")
        self.typed.observe(self._was_typed, "value")
        for control in (choice, fade_end, may_rise):
            control.observe(lambda _: self.refresh(), "value")
        self.row = FieldRow(self.typed, self.note)
        self.widget = widgets.VBox([self.curve, self.row])
        self.refresh()

    def _points(self) -> list[tuple[float, float]]:
        return schedule_points(self._choice.value, self._fade_end.value)

    def refresh(self) -> None:
        """Show what is chosen."""
        if self._busy:
            return
        self._busy = True
        try:
            points = self._points()
            self.curve.monotone = not self._may_rise.value
            self.curve.show(points)
            self._write(points)
        finally:
            self._busy = False

    def _write(self, points: Points) -> None:
        self.typed.value = ", ".join(f"{progress:g}:{lam:g}" for progress, lam in points)
        notes = [] if isinstance(self._choice.value, str) else schedule_notes(points)
        if not isinstance(self._choice.value, str):
            notes.append("q is not used: the points carry their own end")
        self.note.show_text("; ".join(notes))
        self._problem = None
        self.row.clear_problem()

    def require_points(self) -> None:
        """Nobody shall train with other points than those that he sees.

        Raises:
            FieldError: what is typed is no schedule.
        """
        if self._problem is not None:
            raise FieldError("points", str(self._problem)) from self._problem

    def _dragged(self, _: object) -> None:
        if not self._busy:
            self._take([(progress, lam) for progress, lam in self.curve.points])

    def _was_typed(self, _: object) -> None:
        if self._busy:
            return
        try:
            self._take(parse_points(self.typed.value))
        except ValueError as error:
            self._refuse(error)
        self._on_change()

    def _refuse(self, error: ValueError) -> None:
        self._problem = error
        self.note.clear()
        self.row.show_problem(error)

    def _take(self, points: Points) -> None:
        """Drawn points become the choice, if a run could use them."""
        try:
            checked = check_schedule(points, may_rise=self._may_rise.value)
        except ValueError as error:
            return self._refuse(error)
        drawn = schedule_points(checked)
        self._busy = True
        try:
            presets = [(name, name) for name in SCHEDULES]
            self._choice.options = [*presets, (_DRAWN, checked)]
            self._choice.value = checked
            self.curve.show(drawn)
            self._write(drawn)
        finally:
            self._busy = False
