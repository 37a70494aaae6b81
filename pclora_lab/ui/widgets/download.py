"""A button that gives a folder of the kernel's to the page, as a zip."""

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import anywidget
import traitlets

from pclora_lab.ui.background import BackgroundLoop, run_once

__all__ = ["Download"]

_PART = 4 << 20


class Download(anywidget.AnyWidget):
    """A button; the browser saves what it gives, wherever the kernel runs.

    Args:
        label: on the button.
        hint: shown when the pointer rests on it.
        write: writes what is to be packed into an empty folder and returns where it lies; the
            name of that folder is the zip's.
        on_error: shows what went wrong.

    Attributes:
        loop: what packs and sends in the background, or None.
    """

    _esm = Path(__file__).with_name("download.js")

    label = traitlets.Unicode("").tag(sync=True)
    hint = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        label: str,
        hint: str,
        write: Callable[[Path], Path],
        on_error: Callable[[Exception], object],
    ) -> None:
        super().__init__(label=label, hint=hint)
        self._write, self._on_error = write, on_error
        self.loop: BackgroundLoop | None = None
        self.on_msg(self._take_in)

    def _take_in(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and isinstance(ask := content.get("ask"), str):
            self.loop = run_once(lambda: self._give(ask), self._on_error)

    def _give(self, ask: str) -> None:
        """Pack, then send part by part, or say that there is nothing."""
        try:
            with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as packed:
                written = self._write(Path(folder))
                count = pack(written, packed)
                for part in _parts(packed):
                    self.send({"ask": ask, "of": count, "name": f"{written.name}.zip"}, [part])
        except Exception:
            self.send({"ask": ask, "failed": True})
            raise


def pack(folder: Path, file: IO[bytes]) -> int:
    """Write a folder's files as a zip, under the folder's name.

    Weights don't get smaller, so nothing is compressed.

    Returns:
        Of how many parts the file is.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, Path(folder.name) / path.relative_to(folder))
    return -(-file.tell() // _PART)


def _parts(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while part := file.read(_PART):
        yield part
