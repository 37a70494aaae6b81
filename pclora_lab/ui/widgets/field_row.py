"""A control of the form with the place below it where its error stands."""

import ipywidgets as widgets

from pclora_lab.ui.html import MessageBox

__all__ = ["BAD", "FieldRow"]

# The class of a row whose value is refused. Not of its control: a page that is told of a change of
# a text field writes its last value into it, over what a person types.
BAD = "pclora-bad"


class FieldRow(widgets.VBox):
    """One control, or several that belong together, and what is wrong with it.

    Args:
        parts: from top to bottom; the row has the class ``pclora-bad`` while there is an error.

    Attributes:
        control: the first part.
        problem: what is wrong, a message that interrupts a screen reader; empty where nothing is.

    Example:
        >>> row = FieldRow(widgets.IntText())
        >>> row.show_problem(ValueError("rank 0 leaves nothing"))
        >>> "rank 0" in row.problem.value, row._dom_classes
        (True, ('pclora-field', 'pclora-bad'))
        >>> row.clear_problem()
        >>> row.problem.value, row._dom_classes
        ('', ('pclora-field',))
    """

    def __init__(self, *parts: widgets.Widget) -> None:
        self.control = parts[0]
        self.problem = MessageBox("line-height:1.35;font-size:12px;overflow-wrap:anywhere")
        self.problem.add_class("pclora-field-problem")
        self.problem.layout.display = "none"
        super().__init__([*parts, self.problem])
        self.add_class("pclora-field")

    def show_problem(self, error: BaseException | str) -> None:
        """What is wrong with the value, until it is right."""
        self.problem.show_error(error)
        self.problem.layout.display = ""
        self.add_class(BAD)

    def clear_problem(self) -> None:
        """Nothing is wrong any more."""
        if self.problem.value:
            self.problem.clear()
            self.problem.layout.display = "none"
            self.remove_class(BAD)

    def set_visible(self, visible: bool) -> None:
        """Whether there is anything to choose."""
        self.layout.display = "" if visible else "none"
