"""A folder that is replaced as one: whoever reads it finds the old files or the new ones."""

import contextlib
import ctypes
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from pclora_lab.files import PART, disk_errors, flush_to_disk

__all__ = ["remove_folder", "staged_folder"]

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux


@contextlib.contextmanager
def staged_folder(
    folder: Path, *, outdated: Callable[[str], bool] = lambda name: False
) -> Iterator[Path]:
    """A new folder to write to; at the end of the block its files are in ``folder``, all at once.

    What ``folder`` holds beside them stays. If the block fails, or the process is killed, nothing
    in ``folder`` has changed. Where the two can't change places (it holds folders, is a mount or
    the working directory, or the file system does not know how), the files are replaced one by one,
    ``config.json`` last.

    Args:
        folder: is made if it does not exist; a link to a folder is followed.
        outdated: names of files in it that go if they are not written again.

    Yields:
        The new folder; no other user can look into it.

    Raises:
        OSError: a folder can't be made or written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "model"
        >>> with staged_folder(folder) as stage:
        ...     _ = (stage / "config.json").write_text("{}")
        >>> [file.name for file in folder.iterdir()]
        ['config.json']
    """
    folder = Path(os.path.realpath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = not folder.exists() or _can_change_places(folder)
    stage = (folder.parent if beside else folder) / f".{folder.name}.{secrets.token_hex(8)}{PART}"
    stage.mkdir(mode=0o700)
    try:
        usual = _usual_mode(stage)
        with disk_errors(folder):
            yield stage
        for file in stage.iterdir():
            flush_to_disk(file)
        _put(stage, folder, usual, outdated)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder and all that is in it; of a link to one, the link alone.

    Raises:
        OSError: it may not be removed.
    """
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _usual_mode(stage: Path) -> int:
    """The permissions that the process gives its folders."""
    probe = stage / "probe"
    probe.mkdir()
    mode = probe.stat().st_mode & 0o7777
    probe.rmdir()
    return mode


def _can_change_places(folder: Path) -> bool:
    """Whether nobody would miss the old folder: it holds plain files, and nothing stands on it."""
    if os.path.ismount(folder) or Path.cwd().is_relative_to(folder):
        return False
    if not os.access(folder.parent, os.W_OK):
        return False
    return all(file.is_file() and not file.is_symlink() for file in folder.iterdir())


def _put(stage: Path, folder: Path, usual: int, outdated: Callable[[str], bool]) -> None:
    names = {file.name for file in stage.iterdir()}
    if not names:  # of several processes, one writes
        folder.mkdir(exist_ok=True)
        return
    if not folder.exists():
        stage.chmod(usual)
        stage.rename(folder)
    elif stage.parent == folder or not _change_places(stage, folder, outdated):
        _put_one_by_one(stage, folder, names, outdated)
    flush_to_disk(folder)
    flush_to_disk(folder.parent)


def _change_places(stage: Path, folder: Path, outdated: Callable[[str], bool]) -> bool:
    """Whether it could be done; what stays of the old folder is in the new one as well then."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    try:
        for file in folder.iterdir():
            if not (stage / file.name).exists() and not outdated(file.name):
                os.link(file, stage / file.name)
    except OSError:
        return False
    stage.chmod(folder.stat().st_mode & 0o7777)
    paths = (_AT_FDCWD, os.fsencode(stage), _AT_FDCWD, os.fsencode(folder))
    return renameat2(*paths, _RENAME_EXCHANGE) == 0


def _put_one_by_one(
    stage: Path, folder: Path, names: set[str], outdated: Callable[[str], bool]
) -> None:
    for name in sorted(names, key=lambda name: (name == "config.json", name)):
        (stage / name).replace(folder / name)
    for file in folder.iterdir():
        if file.name not in names and outdated(file.name) and not file.is_dir():
            file.unlink()
