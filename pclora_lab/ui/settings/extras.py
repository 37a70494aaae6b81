"""What stands around the fields: settings to start from, the time it would take, the script."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pclora_lab.runs.as_python import as_python
from pclora_lab.runs.estimates.time import expected_seconds
from pclora_lab.runs.reader import scan_runs
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.html import SMALL, MessageBox
from pclora_lab.ui.settings.presets import (
    PresetButtons,
    show_start,
    start_buttons,
    with_preset,
)
from pclora_lab.ui.widgets.copy_text import CopyText

__all__ = ["ExpectedTime", "FormExtras", "spoken_time"]


class FormExtras:
    """Presets, expected time and script of a form.

    Args:
        show: puts settings into the form.
        read: the form's settings; raises a ValueError where there is something wrong.
        named: the same settings with the task that their data are for.
        ask_for_data: leads to the field of the data.
        root: folder of runs, or None.

    Attributes:
        presets: settings to start from.
        starts: options of a method to start from.
        expected: how long the run would take.
        script: the same run as Python.
    """

    def __init__(
        self,
        show: Callable[[RunConfig], object],
        read: Callable[[], RunConfig],
        named: Callable[[RunConfig], RunConfig],
        ask_for_data: Callable[[], object],
        root: Path | None,
    ) -> None:
        self._show, self._read, self._named = show, read, named
        self._written: RunConfig | None = None
        self.presets = PresetButtons(show, ask_for_data)
        self.starts = start_buttons(self._start_from)
        self.expected = ExpectedTime(root)
        self.script = CopyText("Copy as Python", self._as_python)

    def _start_from(self, name: str) -> None:
        config = self._read()
        self._show(dataclasses.replace(config, method=with_preset(config.method, name)))

    def _as_python(self) -> str:
        try:
            self._written = self._read()
        except ValueError:
            return ""  # it is shown at its field
        return as_python(self._named(self._written))

    def follow(self, config: RunConfig | None, data: str) -> None:
        """The form has changed.

        Args:
            config: its settings; None where there is something wrong with them.
            data: the field of the data.
        """
        self.presets.mark(config, data)
        self.expected.show(None if config is None else self._named(config))
        if config != self._written:
            self.script.clear()
        if config is not None:
            show_start(self.starts, config.method)


class ExpectedTime:
    """A small line; nothing where no run can tell.

    Args:
        root: folder of runs; None says nothing.

    Attributes:
        widget: to display.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._known: dict[Path, Any] = {}
        self.widget = MessageBox(SMALL)
        self.widget.add_class("pclora-expected-time")

    def show(self, config: RunConfig | None) -> None:
        """For some settings; None for those that can't be used."""
        seconds = None
        if self._root is not None and config is not None:
            seconds = expected_seconds(config, scan_runs(self._root, self._known))
        text = "" if seconds is None else f"{spoken_time(seconds)}, as earlier runs took here"
        self.widget.show_text(text)


def spoken_time(seconds: float) -> str:
    """As exact as a machine is that does other things too.

    Example:
        >>> spoken_time(0.4), spoken_time(34), spoken_time(107), spoken_time(5400)
        ('about 1 s', 'about 35 s', 'about 1 min 50 s', 'about 1 h 30 min')
    """
    if seconds < 20:
        return f"about {max(1, round(seconds))} s"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s"
    if seconds < 600:
        minutes, rest = divmod(10 * round(seconds / 10), 60)
        return f"about {minutes} min" + (f" {rest} s" if rest else "")
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"about {hours} h {rest} min" if hours else f"about {minutes} min"
