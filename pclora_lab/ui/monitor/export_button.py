"""Taking the small model along: a button and the folder it is written to."""

import html
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets

from pclora_lab.ui.html import MessageBox, button
from pclora_lab.ui.widgets.download import Download

__all__ = ["ExportButton"]


class ExportButton:
    """Button and text field.

    Args:
        write: writes the model of the run that is shown to a folder.
        name: of the run that is shown; the zip is called so.
        message: where it is said what was written.
        show_errors: runs an action and shows what goes wrong.

    Attributes:
        button: writes.
        folder: its name.
        zip: gives the same folder to the browser.
        widget: to display.
    """

    def __init__(
        self,
        write: Callable[[Path], Path],
        name: Callable[[], str],
        message: MessageBox,
        show_errors: Callable[[Callable[[], object]], None],
    ) -> None:
        self._write, self._message = write, message
        self.button = button(
            "Export", "download", "write the compressed model to a folder",
            lambda: show_errors(self.export), width="100px", style="success",
        )  # fmt: skip
        self.folder = widgets.Text(
            value="exported",
            description="to folder",
            tooltip="folder that the compressed model is written to",
            layout=widgets.Layout(width="420px"),
            continuous_update=False,
        )
        self.zip = Download(
            "Download", "save the compressed model as a zip, on the computer of this browser",
            lambda folder: write(folder / name()), message.show_error,
        )  # fmt: skip
        self.widget = widgets.HBox([self.button, self.folder, self.zip])
        self.widget.add_class("pclora-export")

    def allow(self, there_is_a_model: bool) -> None:
        """Show button and field where there is something to write."""
        self.button.disabled = not there_is_a_model
        self.widget.layout.display = "" if there_is_a_model else "none"

    def export(self) -> Path:
        """Write the model to the folder in the text field, and say how to read it.

        Raises:
            RuntimeError: no run has finished.
            ValueError: no folder is named, or another model is in it.
        """
        name = self.folder.value.strip()
        if not name:
            raise ValueError("no folder to export to: write its name beside the button")
        path = self._write(Path(name).expanduser())
        self._message.value = (
            f"exported to <code>{html.escape(str(path.resolve()))}</code>; read it with "
            f"<code>from_pretrained({html.escape(repr(str(path)))})</code>"
        )
        return path
