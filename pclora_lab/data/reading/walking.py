"""The files of a folder, links included, and what kind of content each of them has."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from pclora_lab.data.account import DataError

__all__ = ["FoundFiles", "TABLES", "all_files", "find_files", "is_picture"]

TABLES = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet",
}  # fmt: skip

_PICTURES = {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"}

# Pictures too, for which Pillow may or may not have a reader.
_MAYBE_PICTURES = {
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".ico", ".ppm", ".pgm", ".pbm",
    ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2",
}  # fmt: skip

_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")

_MOST_FILES = 3_000_000

# What operating systems and archives leave behind.
_HIDDEN = {"__MACOSX", "Thumbs.db", "desktop.ini", "lost+found"}


@dataclass
class FoundFiles:
    """Files by what is in them; paths are relative to the folder.

    Attributes:
        tables: by kind.
        pictures: that can be read.
        texts: with the ending ``.txt``.
        unreadable: pictures for whose kind there is no reader.
        empty: files without a byte.
        lost: links that lead nowhere, and folders that may not be read.
        others: everything else.
    """

    tables: dict[str, list[Path]] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    lost: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)

    @property
    def empty_pictures(self) -> list[Path]:
        """Those among the empty files whose name ends as a picture's."""
        return [p for p in self.empty if p.suffix.lower() in _PICTURES | _MAYBE_PICTURES]

    @property
    def count(self) -> int:
        """How many there are."""
        tables = sum(map(len, self.tables.values()))
        parts = (self.pictures, self.texts, self.unreadable, self.empty, self.lost, self.others)
        return tables + sum(map(len, parts))


def find_files(folder: Path) -> FoundFiles:
    """All files below a folder but hidden ones, in the order of their paths' characters."""
    found = FoundFiles()
    readers = Image.registered_extensions()
    for relative in sorted(_walk(folder, found), key=str):
        path = folder / relative
        suffix = relative.suffix.lower()
        if not path.is_file():
            found.lost.append(relative)
        elif not path.stat().st_size:
            found.empty.append(relative)
        elif suffix in TABLES:
            found.tables.setdefault(TABLES[suffix], []).append(relative)
        elif suffix in _PICTURES or (suffix in _MAYBE_PICTURES and readers.get(suffix)):
            found.pictures.append(relative)
        elif suffix in _MAYBE_PICTURES:
            found.unreadable.append(relative)
        elif suffix == ".txt":
            found.texts.append(relative)
        elif is_picture(path):
            found.pictures.append(relative)
        else:
            found.others.append(relative)
    return found


def all_files(folder: Path) -> list[Path]:
    """Paths of all files but hidden ones, relative to a folder; folders that are linked too."""
    return list(_walk(folder, FoundFiles()))


def _walk(folder: Path, found: FoundFiles) -> Iterator[Path]:
    """Paths of files; a folder that is linked into itself is entered once."""
    entered: set[str] = set()
    seen = 0

    def cannot(error: OSError) -> None:
        found.lost.append(Path(os.path.relpath(error.filename or folder, folder)))

    for place, folders, files in os.walk(folder, followlinks=True, onerror=cannot):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        seen += len(files) + len(folders)
        if seen > _MOST_FILES:
            raise DataError(
                f"{folder} holds more than {_MOST_FILES:,} files and folders, so it was not read "
                "to its end: name the folder of the data set itself, or keep so many examples in "
                "parquet files"
            )
        folders[:] = [name for name in folders if not _is_hidden(name)]
        base = Path(os.path.relpath(place, folder))
        yield from (base / name for name in files if not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _HIDDEN


def is_picture(path: Path) -> bool:
    """Whether a file begins as a picture does, whatever its name says."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    is_webp = head.startswith(b"RIFF") and head.endswith(b"WEBP")
    return is_webp or head.startswith(_STARTS)
