"""Taking the small model along: a button and the folder it is written to."""

import html
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets

__all__ = ["ExportButton"]


class ExportButton:
    """Button and text field.

    Args:
        write: writes the model of the run that is shown to a folder.
        say: shows HTML.
        show_errors: runs an action and shows what goes wrong.

    Attributes:
        button: writes.
        folder: its name.
        widget: to display.
    """

    def __init__(
        self,
        write: Callable[[Path], Path],
        say: Callable[[str], None],
        show_errors: Callable[[Callable[[], object]], None],
    ) -> None:
        self._write, self._say = write, say
        self.button = widgets.Button(
            description="Export",
            icon="download",
            button_style="success",
            tooltip="write the compressed model to a folder",
            layout=widgets.Layout(width="100px"),
        )
        self.button.on_click(lambda _: show_errors(self.export))
        self.folder = widgets.Text(
            value="exported",
            description="to folder",
            tooltip="folder that the compressed model is written to",
            layout=widgets.Layout(width="420px"),
            continuous_update=False,
        )
        self.widget = widgets.HBox([self.button, self.folder])

    def export(self) -> Path:
        """Write the model to the folder in the text field, and say how to read it.

        Raises:
            RuntimeError: no run has finished.
            ValueError: no folder is named, or another model is in it.
        """
        name = self.folder.value.strip()
        if not name:
            raise ValueError("no folder to export to: write its name beside the button")
        place = self._write(Path(name).expanduser())
        self._say(
            f"exported to <code>{html.escape(str(place.resolve()))}</code>; read it with "
            f"<code>from_pretrained({html.escape(repr(str(place)))})</code>"
        )
        return place
