"""What is in the chosen data, and what is left out of it, as soon as they are chosen."""

import html
from functools import partial

import ipywidgets as widgets

from pclora_lab.data.cache import DataCache
from pclora_lab.data.loading import EMBEDDED_DATA
from pclora_lab.data.sources import local_path
from pclora_lab.data.splits import LabeledData
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.background import run_once
from pclora_lab.ui.html import SMALL, error_html, message_html

__all__ = ["DataPreview"]

_CSS = f"{SMALL};max-width:252px;overflow-wrap:anywhere"

_MOST_NOTES = 3


class DataPreview:
    """Sizes, classes and account of a data set on this machine; nothing is downloaded.

    Args:
        cache: that runs read their data from; None shows nothing.

    Attributes:
        widget: to display.
    """

    def __init__(self, cache: DataCache | None) -> None:
        self._cache = cache
        self._asked = 0
        self.widget = widgets.HTML()
        self.widget.add_class("pclora-data-account")

    def show(self, config: RunConfig) -> None:
        """Read the config's data in the background, and say what is in them.

        Args:
            config: only what determines its data counts.
        """
        if self._cache is None:
            return
        self._asked += 1
        if not _is_here(config.data):
            text = "not on this machine: read from the hub when a run begins"
            self.widget.value = message_html(text, css=_CSS)
            return
        self.widget.value = message_html("reading …", css=_CSS)
        run_once(partial(self._read, config, self._asked), partial(self._refuse, self._asked))

    def _read(self, config: RunConfig, asked: int) -> None:
        if self._cache is not None:
            self._put(asked, account_html(self._cache.data(config)))

    def _refuse(self, asked: int, error: Exception) -> None:
        self._put(asked, error_html(error, with_type=False, css=_CSS))

    def _put(self, asked: int, value: str) -> None:
        """Unless other data were chosen in the meantime."""
        if asked == self._asked:
            self.widget.value = value


def _is_here(name: str) -> bool:
    path = local_path(name)
    is_path = name.startswith((".", "/", "~"))
    return name in EMBEDDED_DATA or is_path or (path is not None and path.exists())


def account_html(data: LabeledData) -> str:
    """Sizes, account and notes as lines that can't be taken for markup.

    Example:
        >>> from pclora_lab.data import load_data
        >>> "rows: 1,797 found, 1,797 used" in account_html(load_data("digits"))
        True
    """
    lines = [data.summary().partition(": ")[2], *(data.account.lines() if data.account else ())]
    notes = [*data.notes[:_MOST_NOTES], *(["…"] if len(data.notes) > _MOST_NOTES else ())]
    text = "<br>".join(html.escape(line) for line in (*lines, *notes))
    return f'<div role="status" style="{_CSS}">{text}</div>'
