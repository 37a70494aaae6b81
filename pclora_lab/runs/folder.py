"""The run folder: what was asked for, what happened, and the model that came out.

``config.json`` · ``versions.json`` · ``status.json`` · ``history.jsonl`` (a line per row) ·
``result.json`` · ``snapshots/`` · ``compressed/`` · ``checkpoint.safetensors`` until it has
finished. Lines are appended and flushed, files are
replaced in one step, so a process that is killed leaves a folder that can be read.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from pclora_lab.files import given_path
from pclora_lab.json_files import read_json, write_json
from pclora_lab.locks import LOCK_FILE, FolderLock
from pclora_lab.machine import is_on_this_machine
from pclora_lab.runs.durable.signs import read_signs
from pclora_lab.runs.durable.status import set_status, versions
from pclora_lab.runs.reader import TEACHERS_FOLDER
from pclora_lab.staging import remove_folder
from pclora_lab.training.config import RunConfig, write_config

__all__ = [
    "delete_run",
    "is_being_written",
    "is_unbegun",
    "new_run_folder",
    "rename_run",
]

_LONGEST_NAME = 200


# Folders that this process writes now, and which thread does. Its own number in a status says
# less: a notebook's process goes on when a run of it is over.
_recorded: dict[str, threading.Thread] = {}


def run_name(config: RunConfig) -> str:
    """A readable name from the settings that people vary most.

    Example:
        >>> run_name(RunConfig())
        'vit_digits-digits-r8-sine-activation_svd-s0'
    """
    parts = (Path(config.model).name, Path(config.data).name, config.method.label())
    return re.sub(r"[^\w.-]+", "_", "-".join((*parts, f"s{config.seed}")))


def new_run_folder(root: Path | str, config: RunConfig, *, name: str | None = None) -> Path:
    """Create ``root/<name>`` with config and versions; a number is added if the name is taken.

    Raises:
        OSError: the folder can't be written.
    """
    root = given_path(root, "root")
    root.mkdir(parents=True, exist_ok=True)
    name, number = name or run_name(config), 1
    while True:
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
            break
        except FileExistsError:
            number += 1
    try:
        write_config(folder / "config.json", config)
        write_json(folder / "versions.json", versions())
        set_status(folder, "running")
    except OSError:
        with contextlib.suppress(OSError):
            remove_folder(folder)  # nothing of a run is in it
        raise
    return folder


def is_unbegun(folder: Path | str) -> bool:
    """Whether a run's process ended as soon as it had made the folder: it is empty, or as good as.

    Example:
        >>> import tempfile
        >>> is_unbegun(tempfile.mkdtemp())
        True
    """
    folder = given_path(folder, "folder")
    ours = ("config.json.", "versions.json", "status.json", "history.jsonl", LOCK_FILE)
    return (
        folder.is_dir()
        and not folder.is_symlink()
        and all(path.is_file() and path.name.startswith(ours) for path in folder.iterdir())
    )


def is_being_written(folder: Path | str) -> bool:
    """Whether another process or another thread trains into the folder, here or elsewhere.

    A thread that asks is not writing meanwhile: a run that it began and left is over. False where
    it can't be told.
    """
    folder = Path(folder)
    try:
        status = read_json(folder / "status.json") or {}
        signs = read_signs(folder, has_result=False)
    except (ValueError, OSError):
        return False
    # Without the time it can't be told from a process that got the same number later.
    if signs.status != "running" or "time" not in status:
        return False
    if not is_on_this_machine(status) or status["pid"] != os.getpid():
        return True
    writer = _recorded.get(os.path.realpath(folder), threading.current_thread())
    return writer.is_alive() and writer is not threading.current_thread()


def _forget_parent() -> None:
    """Threads of the parent do not run in a forked child."""
    _recorded.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


def delete_run(folder: Path | str) -> None:
    """Remove a run folder.

    Raises:
        FileNotFoundError: it is no run folder; nothing is removed.
        RuntimeError: it is being written.
    """
    folder = given_path(folder, "folder")
    _require_run(folder)
    with _at_rest(folder, "deleted"):
        remove_folder(folder)


def rename_run(folder: Path | str, name: str) -> Path:
    """Give a run folder another name; returns where it is now.

    Args:
        folder: of the run.
        name: the new name, without a path.

    Raises:
        FileNotFoundError: it is no run folder.
        FileExistsError: the name is taken.
        ValueError: no folder can have such a name.
        RuntimeError: the run is being written.
    """
    folder, name = given_path(folder, "folder"), name.strip()
    _require_run(folder)
    _check_name(name)
    if name == folder.name:
        return folder
    with _at_rest(folder, "renamed"):
        new = folder.with_name(name)
        if os.path.lexists(new):
            raise FileExistsError(f"{name!r} is taken by another folder: choose another name")
        folder.rename(new)
        _correct_paths(new, folder.name)
    return new


def _require_run(folder: Path | str) -> None:
    files = (Path(folder) / name for name in ("versions.json", "status.json"))
    # A process that was killed right at the start has left neither of them.
    is_begun = any(file.is_file() for file in files)
    if not is_begun and not (is_unbegun(folder) and any(Path(folder).iterdir())):
        raise FileNotFoundError(f"no run in {folder}: there is no versions.json")


@contextlib.contextmanager
def _at_rest(folder: Path, verb: str) -> Iterator[None]:
    """Nobody begins to write meanwhile."""
    lock = FolderLock(folder)
    # What this thread began and left is over, though its lock is not let go of yet.
    is_free = lock.is_held_by_this_thread or lock.acquire()
    if is_being_written(folder) or not is_free:
        lock.release()
        raise RuntimeError(
            f"{folder.name} is being written and can't be {verb}: stop the run, or wait for its end"
        )
    try:
        yield
    finally:
        lock.release()


def _check_name(name: str) -> None:
    reason = None
    if not name:
        reason = "it is empty"
    elif any(mark in name for mark in "/\\") or not name.isprintable():
        reason = "it may hold no / and no \\, and only characters that can be seen"
    elif name.startswith(".") or name == TEACHERS_FOLDER:
        reason = f"a name with a dot in front is hidden, and {TEACHERS_FOLDER!r} is no run's"
    elif len(name.encode()) > _LONGEST_NAME:
        reason = f"it has {len(name.encode())} bytes, {_LONGEST_NAME} is the most"
    if reason is not None:
        raise ValueError(f"a run can't be named {name!r}: {reason}; write letters, digits, - or _")


def _correct_paths(folder: Path, old_name: str) -> None:
    """Its own name is in the result; nothing else in the folder knows it."""
    with contextlib.suppress(ValueError, OSError):
        result = read_json(folder / "result.json") or {}
        run_dir = result.get("run_dir")
        if isinstance(run_dir, str) and Path(run_dir).name == old_name:
            write_json(folder / "result.json", {**result, "run_dir": folder.name})
