"""The form's rows, one below the other, with what few people set folded away."""

from collections.abc import Mapping, Sequence

import ipywidgets as widgets

from pclora_lab.ui.widgets.field_row import FieldRow
from pclora_lab.ui.widgets.fold import Fold

__all__ = ["Column"]


class Column:
    """One column: model, method, training, and the rest folded.

    Attributes:
        advanced: what few people set.
        above: a box for what stands on top.
        below: a box for what stands at the end.
        problem: what is wrong with no single field.
        widget: to display.
    """

    def __init__(self) -> None:
        self._parts = {name: widgets.VBox() for name in ("Model", "Method", "Training")}
        self.advanced = Fold("Advanced")
        self.above, self.below = widgets.VBox(), widgets.VBox()
        self.problem = FieldRow(widgets.VBox())
        titled: list[widgets.Widget] = []
        for title, part in self._parts.items():
            part.children = (widgets.HTML(value=f"<h4>{title}</h4>", tooltip=""),)
            titled.append(part)
        start = widgets.HTML(value="<h4>Start from</h4>", tooltip="")
        self.widget = widgets.VBox(
            [start, self.above, *titled, self.advanced, self.problem, self.below]
        )
        self.widget.add_class("pclora-form")

    def fill(
        self,
        *,
        model: Sequence[widgets.Widget],
        method: Sequence[widgets.Widget],
        training: Sequence[widgets.Widget],
        advanced: Sequence[widgets.Widget],
    ) -> None:
        """The rows of each part; those that stood there before belong to somebody else."""
        for part, rows in zip(self._parts.values(), (model, method, training), strict=True):
            part.children = (part.children[0], *rows)
        self.advanced.content.children = tuple(advanced)

    def hide_empty(self) -> None:
        """No heading stands alone."""
        for part in self._parts.values():
            rows = part.children[1:]
            part.layout.display = "" if any(map(_is_seen, rows)) else "none"

    def show_problem(self, error: BaseException | None, rows: Mapping[str, FieldRow]) -> None:
        """At its field, which is unfolded; if no field that can be seen is to blame, at the end.

        Args:
            error: names its field, if there is one; None takes away what was wrong before.
            rows: by name of the field.
        """
        for row in (*rows.values(), self.problem):
            row.clear_problem()
        if error is None:
            return
        found = rows.get(getattr(error, "field", ""))
        if found is None or found.layout.display == "none":
            return self.problem.show_problem(error)
        found.show_problem(error)
        if found in self.advanced.content.children:
            self.advanced.heading.is_open = True


def _is_seen(row: widgets.Widget) -> bool:
    is_empty = isinstance(row, widgets.Box) and not row.children
    return row.layout.display != "none" and not is_empty
