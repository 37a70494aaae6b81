"""Which files this package wrote: nothing else is ever replaced.

What it writes bears a mark: texts a last line with a checksum of what stands above it, so that an
edit is noticed; other formats a word in their own metadata.
"""

import hashlib
import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from pclora_lab.json_files import parse_json
from pclora_lab.tensor_files import read_metadata, sealing

__all__ = ["MARK", "is_ours", "refuse_foreign", "with_mark"]

MARK = "written_by_pclora_lab"
"""Stands in the metadata of pictures, graphs and archives that this package writes."""

_LINE = re.compile(r"<!-- pclora_lab wrote this: ([0-9a-f]{16}) -->\n?$")
_OLD_CARD = "---\nlibrary_name: pclora-lab\n"
_OLD_REPORT = ("<!doctype html>", "<h2>What happened</h2>", "<h2>Settings</h2>")
_LOADER = re.compile(r'"""Load this model with \w+ and safetensors alone."""')
_TAIL = 1 << 16


def with_mark(text: str) -> str:
    """A Markdown or HTML text with the last line that says whose it is.

    Example:
        >>> with_mark("# A model")
        '# A model\\n<!-- pclora_lab wrote this: 67b246868db005ae -->\\n'
    """
    text = text if text.endswith("\n") else text + "\n"
    return f"{text}<!-- pclora_lab wrote this: {_digest(text)} -->\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def refuse_foreign(paths: Iterable[Path], *, force: bool | None = False) -> None:
    """Refuse to replace files that this package did not write, or that were edited since.

    Args:
        paths: that are about to be written.
        force: allow it, but for folders; None where that can't be asked for.

    Raises:
        FileExistsError: names the first such file and the cure.
    """
    for path in paths:
        if not os.path.lexists(path) or is_ours(path):
            continue
        if path.is_dir() and not path.is_symlink():
            raise FileExistsError(f"{path} is a folder, in the place of a file: choose another one")
        if not force:
            cure = "" if force is None else ", or pass force=True (--force) to replace it"
            raise FileExistsError(
                f"{path} is there already, and was not written by pclora_lab or has been edited "
                f"since: choose another folder, or move the file away{cure}"
            )


def is_ours(path: Path) -> bool:
    """Whether a file bears this package's mark, and was not edited since; a link never does."""
    if path.is_symlink() or not path.is_file():
        return False
    try:
        return _bears_mark(path)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def _bears_mark(path: Path) -> bool:
    match path.suffix:
        case ".safetensors":
            return sealing().keys() <= read_metadata(path).keys()
        case ".pt2":
            with zipfile.ZipFile(path) as archive:
                return any(Path(name).name == MARK for name in archive.namelist())
        case ".md" | ".html":
            return _is_our_text(path.read_text(encoding="utf8", errors="surrogateescape"))
        case ".py":
            return bool(_LOADER.match(path.read_text(encoding="utf8")))
        case ".json":
            return _is_our_json(parse_json(path.read_bytes(), path.name))
    with path.open("rb") as file:
        head = file.read(_TAIL)
        file.seek(max(0, path.stat().st_size - _TAIL))
        return MARK.encode() in head + file.read()


def _is_our_text(text: str) -> bool:
    line = _LINE.search(text)
    if line is None:  # of an earlier version
        return text.startswith(_OLD_CARD) or all(part in text for part in _OLD_REPORT)
    return line[1] == _digest(text[: line.start()])


def _is_our_json(value: object) -> bool:
    """A comparison's result; the files of models are told by who reads them."""
    return isinstance(value, dict) and {"command", "tuning", "rows"} <= value.keys()
