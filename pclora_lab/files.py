"""The ground under every room: files replaced in one step, JSON read with care, packaged data."""

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = [
    "PART",
    "atomic_write",
    "data_dir",
    "load_published_result",
    "read_json",
    "staged",
    "write_json",
    "write_text",
]

PART = ".part"
"""How the name of a file ends while it is being written."""


def load_published_result(name: str) -> dict[str, Any]:
    """Read a saved result.

    Args:
        name: file name without its ending, e.g. ``starts_digits``.

    Returns:
        ``command``, ``hardware``, ``torch``, ``summary`` and ``runs``.

    Raises:
        FileNotFoundError: there is none of that name; lists those there are.
    """
    folder = data_dir("results")
    path = folder / f"{name}.json"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in folder.glob("*.json")))
        raise FileNotFoundError(f"no record {name!r} in {folder}: there are {there or 'none'}")
    return json.loads(path.read_text(encoding="utf8"))


_LONGEST_EXACT = 25


def _parse(text: str) -> Any:
    # Python refuses whole numbers of more than 4300 digits; as a float they are infinite.
    return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONGEST_EXACT else float(digits)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, or None where there is no file.

    Raises:
        ValueError: the file holds no JSON object.
        OSError: it may not be read.
    """
    if not path.is_file():
        return None
    try:
        values = _parse(path.read_text(encoding="utf8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} can't be read: {type(error).__name__}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(
            f"{path.name} can't be read: it holds a {type(values).__name__}, not an object"
        )
    return values


def write_json(path: Path, value: object) -> None:
    """Write an object as JSON; see :func:`atomic_write`."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; see :func:`atomic_write`."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf8")


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """An empty file beside ``path`` to write to; at the end of the block it becomes ``path``.

    A reader sees the old file or the new one, never half of one. If the block fails, the file
    stays as it was and nothing is left beside it. The new file may be read by whom the old one
    could be, or, where there was none, by whom :func:`open` allows it.

    Args:
        path: of the file; its folder must exist. A link is replaced, not followed.

    Yields:
        The file to write to, under a name that nobody can foresee: in a folder that others write
        to, a predictable one could be a link of theirs.

    Raises:
        OSError: the folder can't be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "facts.json"
        >>> with atomic_write(path) as part:
        ...     _ = part.write_text("{}")
        >>> [file.name for file in path.parent.iterdir()]
        ['facts.json']
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PART}")
    # As mkstemp does, but with the permissions that the process gives its files (umask).
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        mode = (path if path.is_file() and not path.is_symlink() else part).stat().st_mode
        yield part
        if part.stat().st_mode != mode:  # some libraries write a file of their own in its place
            part.chmod(mode)
        part.replace(path)
    except BaseException:
        # A disk that is full, or gone, must not hide what went wrong.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A new folder inside ``folder`` to write to; at the end of the block its files move up.

    For writers that choose names of their own, or more than one file. Each file is replaced in one
    step. If the block fails, nothing in ``folder`` has changed.

    Args:
        folder: must exist.

    Yields:
        The new folder; no other user can look into it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with staged(folder) as stage:
        ...     _ = (stage / "vocabulary.txt").write_text("a")
        >>> [file.name for file in folder.iterdir()]
        ['vocabulary.txt']
    """
    with tempfile.TemporaryDirectory(prefix=".", suffix=PART, dir=folder) as stage:
        yield Path(stage)
        for file in sorted(Path(stage).iterdir()):
            file.replace(folder / file.name)


def data_dir(name: str) -> Path:
    """A folder of ``data/``, in a checkout or in an installed package."""
    here = Path(__file__).parent
    folders = (here.parent / "data" / name, here / "embedded_data" / name)
    return next((folder for folder in folders if folder.is_dir()), folders[0])
