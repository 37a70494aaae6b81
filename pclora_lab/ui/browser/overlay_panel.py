"""Several runs drawn over each other in one figure."""

from collections.abc import Sequence

import ipywidgets as widgets
import plotly.graph_objects as go

from pclora_lab.plots.overlay import fill_overlay, overlay_figure
from pclora_lab.runs.reader import Run
from pclora_lab.ui.widgets.page import responsive

__all__ = ["OverlayPanel"]


class OverlayPanel:
    """One figure, made when it is first wanted and then filled anew.

    Attributes:
        names: folders of the runs that are drawn.
        figure: None until something is drawn.
        widget: to display.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.figure: go.FigureWidget | None = None
        self.widget = widgets.VBox()

    def draw(self, names: tuple[str, ...], runs: Sequence[Run]) -> None:
        """Draw other runs."""
        self.names = names
        if self.figure is None:
            self.figure = responsive(overlay_figure())
            self.widget.children = (self.figure,)
        self.update(runs)

    def update(self, runs: Sequence[Run]) -> None:
        """Draw the same runs as they are now; nothing where none were drawn."""
        if self.figure is not None:
            fill_overlay(self.figure, runs)
            self.widget.layout.display = "" if runs else "none"

    def rename(self, old: str, new: str) -> None:
        """Know a run by its new name."""
        self.names = tuple(new if name == old else name for name in self.names)

    def forget_figure(self) -> None:
        """Make another one when it is wanted."""
        self.figure, self.widget.children = None, ()
