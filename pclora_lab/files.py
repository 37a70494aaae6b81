"""The ground under every room: files replaced in one step, JSON read with care, packaged data."""

import contextlib
import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pclora_lab.wording import shown

__all__ = [
    "PART",
    "atomic_write",
    "data_dir",
    "disk_errors",
    "file_stamp",
    "flush_to_disk",
    "given_path",
    "load_published_result",
    "make_folder",
    "open_to_append",
    "short_path",
    "staged",
    "without_home",
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
        ValueError: the file was cut or edited.
    """
    folder = data_dir("results")
    path = folder / f"{name}.json"
    if not path.is_file() or path.parent != folder:
        there = ", ".join(sorted(p.stem for p in folder.glob("*.json")))
        raise FileNotFoundError(f"no record {name!r} in {folder}: there are {there or 'none'}")
    return json.loads(path.read_text(encoding="utf8"))


def given_path(value: Path | str, what: str) -> Path:
    """A path that somebody gave; an empty text would be the working directory by accident.

    Args:
        value: a path; ``~`` is the home folder.
        what: its name, for the message.

    Raises:
        ValueError: no path, an empty one, or one that no file system can have.

    Example:
        >>> given_path("", "root")
        Traceback (most recent call last):
        ValueError: root is '': which folder or file is meant? Name it; '.' is the working directory
    """
    if not isinstance(value, str | os.PathLike):
        raise ValueError(f"{what} is {shown(value)}: it must be a path")
    path = os.fspath(value)
    if not isinstance(path, str) or not path.strip():
        question = "which folder or file is meant? Name it; '.' is the working directory"
        raise ValueError(f"{what} is {shown(path)}: {question}")
    with contextlib.suppress(UnicodeError, RuntimeError):  # half a character, nobody's home
        os.fsencode(path)
        if "\0" not in path:
            return Path(path).expanduser()
    raise ValueError(f"{what} is {shown(path)}: no file or folder can have such a name")


def file_stamp(path: Path) -> tuple[int, int, int] | None:
    """Time of the last change (ns), size and inode: another one once the file was written again.

    Returns:
        None where there is no such file.

    Example:
        >>> file_stamp(Path("no such file")) is None
        True
    """
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; see :func:`atomic_write`."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf8")


def open_to_append(path: Path) -> int:
    """The descriptor of a file to add lines to, made where it is missing; no link is followed.

    Raises:
        OSError: it can't be written, or something else than a plain file of one name is there.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "history.jsonl"
        >>> file = open_to_append(path)
        >>> _, _ = os.write(file, b"{}"), os.close(file)
        >>> path.read_text()
        '{}'
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    # Without waiting for the other end of a pipe.
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if path.is_symlink():
        raise OSError(f"{path} is a link, and what it leads to may be somebody's: remove it")
    descriptor = os.open(path, flags, 0o666)
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(descriptor)
        raise OSError(f"{path} is no plain file, or has a second name elsewhere: remove it")
    return descriptor


def make_folder(path: Path) -> Path:
    """A folder of the package's own, made where it is missing; a link to another one is refused.

    Raises:
        OSError: it can't be made, or is a link.
    """
    path.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        raise OSError(f"{path} is a link, and what it leads to may be somebody's: remove it")
    return path


@contextlib.contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Raise a disk's errors as such, where a library written in Rust gives them another kind.

    Raises:
        OSError: the disk is full, or can't be written.

    Example:
        >>> with disk_errors(Path("weights")):
        ...     raise RuntimeError("I/O error: No space left on device (os error 28)")
        Traceback (most recent call last):
        ...
        OSError: [Errno 28] No space left on device: 'weights'
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # tokenizers raises no narrower one
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(place)) from error


@contextlib.contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """An empty file beside ``path`` to write to; at the end of the block it becomes ``path``.

    A reader sees the old file or the new one, never half of one. If the block fails, the file
    stays as it was and nothing is left beside it. The new file may be read by whom the old one
    could be, or, where there was none, by whom :func:`open` allows it.

    Args:
        path: of the file; its folder must exist. A link is replaced, not followed.
        durable: the disk has it at the end of the block, also if the power fails then.

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
        with disk_errors(path):
            yield part
        if part.stat().st_mode != mode:  # some libraries write a file of their own in its place
            part.chmod(mode)
        if durable:
            flush_to_disk(part)
        part.replace(path)
        if durable:
            flush_to_disk(path.parent)
    except BaseException:
        # A disk that is full, or gone, must not hide what went wrong.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def flush_to_disk(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder.

    Raises:
        OSError: the disk can't take the file. Folders that can't be waited for are left.
    """
    is_folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if not is_folder:  # which some file systems, and Windows, do not know
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
        with disk_errors(folder):
            yield Path(stage)
        for file in sorted(Path(stage).iterdir()):
            file.replace(folder / file.name)


def without_home(text: str) -> str:
    """A text with ``~`` for this user's home folder, for a file that others may read.

    Example:
        >>> without_home(f"trained on {Path.home()}/reviews.csv")
        'trained on ~/reviews.csv'
    """
    try:
        home = str(Path.home())
    except RuntimeError:  # there is none
        return text
    # A folder beside it may begin with its name.
    return text if home == "/" else re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)


def short_path(folder: Path) -> str:
    """From the working directory, if the folder is in it.

    Example:
        >>> short_path(Path.cwd() / "runs" / "a")
        'runs/a'
    """
    path, here = Path(os.path.abspath(folder)), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def data_dir(name: str) -> Path:
    """A folder of ``data/``, in a checkout or in an installed package."""
    here = Path(__file__).parent
    folders = (here.parent / "data" / name, here / "embedded_data" / name)
    return next((folder for folder in folders if folder.is_dir()), folders[0])
