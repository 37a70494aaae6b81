"""Where everything stands: bar, rail of settings, and the run with its views.

The looks are in ``ui/widgets/lab.css``; the layout follows the width of the cell.
"""

import ipywidgets as widgets

from pclora_lab.training.config import RunConfig
from pclora_lab.ui.closing import close_widgets
from pclora_lab.ui.html import button
from pclora_lab.ui.monitor.chips import chips_html
from pclora_lab.ui.monitor.shown_run import ShownRun
from pclora_lab.ui.widgets.page import Page

__all__ = ["CURVES", "RANKS", "RUNS", "Arrangement"]

CURVES, RANKS, RUNS = 0, 3, 4
_RAIL = "pclora-with-rail"
_EDIT, _HIDE = "Edit settings", "Hide settings"


class Arrangement:
    """The lab's page.

    Args:
        page: the invisible widget that brings the looks along.
        settings: the form.
        shown: the run that is shown.
        ranks: what the form's settings would give.
        runs: all runs of the folder.

    Attributes:
        tabs: the run's views, the ranks and the runs.
        chips: the settings of the run, or of the form, in one line.
        edit: shows and hides the form.
        widget: to display.
    """

    def __init__(
        self,
        page: Page,
        settings: widgets.Widget,
        shown: ShownRun,
        ranks: widgets.Widget,
        runs: widgets.Widget,
    ) -> None:
        self.tabs = shown.views.tabs
        titles = (*self.tabs.titles, "What would it give?", "Runs")
        self.tabs.children, self.tabs.titles = (*self.tabs.children, ranks, runs), titles
        self.chips = widgets.HTML()
        self.edit = button(
            _HIDE, "sliders", "show or hide the settings of the next run", self._toggle_rail
        )
        keys = widgets.Button(icon="keyboard-o", tooltip="keys of the lab: press ? to see them")
        keys.add_class("pclora-keys-button")
        line = _box("chips", shown.views.title, self.chips, self.edit, shown.back, keys)
        body = _box("body", _box("rail", settings), _box("main", line, *shown.parts))
        self.widget = widgets.VBox([page, shown.buttons.widget, body])
        self.widget.add_class("pclora-lab")
        self.show_rail(True)

    def take_place_of(self, older: "Arrangement") -> None:
        """Stand wherever an older page stands, in another tab or another cell."""
        own, self.widget = self.widget, older.widget
        older.widget = widgets.VBox(self.widget.children)  # it closes what it has made
        self.widget._dom_classes, children = own._dom_classes, own.children
        own.children = ()
        self.widget.children = children
        close_widgets(own)

    @property
    def has_rail(self) -> bool:
        """Whether the form is shown."""
        return _RAIL in self.widget._dom_classes

    def show_rail(self, shown: bool) -> None:
        """Show the form, or fold it away."""
        (self.widget.add_class if shown else self.widget.remove_class)(_RAIL)
        self.edit.description = _HIDE if shown else _EDIT

    def _toggle_rail(self) -> None:
        self.show_rail(not self.has_rail)

    def show_settings(self, config: RunConfig) -> None:
        """Tell a run's settings in one line."""
        self.chips.value = chips_html(config)


def _box(name: str, *children: widgets.Widget) -> widgets.Box:
    box = widgets.Box(children)
    box.add_class(f"pclora-{name}")
    return box
