"""The run folder: what was asked for, what happened, and the model that came out.

``config.json`` · ``versions.json`` · ``status.json`` · ``history.jsonl`` (a line per row) ·
``result.json`` · ``snapshots/`` · ``compressed/`` · ``checkpoint.safetensors`` until it has
finished. Lines are appended and flushed, files are
replaced in one step, so a process that is killed leaves a folder that can be read.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pclora_lab.checkpoints import Keeper, remove_checkpoint
from pclora_lab.config import RunConfig
from pclora_lab.events import Event, Finished, Kept, Row
from pclora_lab.export import save_pretrained
from pclora_lab.files import replacing
from pclora_lab.optim import LossDiverged
from pclora_lab.run_reading import (
    TEACHERS_FOLDER,
    Run,
    UnreadableRun,
    is_alive,
    list_runs,
    load_run,
    read_json,
    scan_runs,
)
from pclora_lab.snapshots import list_snapshots, save_snapshot

__all__ = [
    "Run", "UnreadableRun", "delete_run", "is_being_written", "list_runs", "load_run",
    "new_run_folder", "record", "rename_run", "reopen", "scan_runs", "versions", "write_json",
]  # fmt: skip

_LONGEST_NAME = 200
# Folders that this process writes now, and which thread does. Its own number in a status says
# less: a notebook's process goes on when a run of it is over.
_recorded: dict[str, threading.Thread] = {}
_PACKAGES = ("torch", "timm", "transformers", "accelerate", "datasets", "safetensors", "numpy")


def write_json(path: Path, value: object) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never half of one."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


def versions() -> dict[str, str]:
    """Versions of what determines a result."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


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
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    name, number = name or run_name(config), 1
    while True:
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
            break
        except FileExistsError:
            number += 1
    write_json(folder / "config.json", config.to_dict())
    write_json(folder / "versions.json", versions())
    _set_status(folder, "running")
    return folder


def reopen(folder: Path, rows: Iterable[dict[str, Any]], step: int) -> None:
    """Get a run folder ready for the rest of its run.

    Args:
        folder: of the run.
        rows: the history that stays.
        step: from which the training goes on; later snapshots are of steps to be taken again.
    """
    for taken, snapshot in list_snapshots(folder).items():
        if taken > step:
            snapshot.unlink()
    with replacing(folder / "history.jsonl") as part:
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    _set_status(folder, "running")


def _set_status(folder: Path, status: str, error: str | None = None) -> None:
    write_json(
        folder / "status.json",
        {"status": status, "error": error, "pid": os.getpid(), "time": time.time()},
    )


def record(events: Iterator[Event], folder: Path) -> Iterator[Event]:
    """Pass events through and write them down; the status follows how the run ends.

    Closing the generator (a stop) or an interrupt leaves status ``stopped``; an exception leaves
    ``failed`` with its message. Both go on to the caller. Until the run has finished there is a
    checkpoint: of the step at which it was stopped, or of some seconds before an interrupt, an
    error or a kill (a hundred times as long as writing takes, and five at least).
    """
    finished, place = False, os.path.realpath(folder)
    name = _short(folder)
    folder = Path(place)  # somebody may change the working directory meanwhile
    keeper = Keeper(folder)
    _recorded[place] = threading.current_thread()
    try:
        with (folder / "history.jsonl").open("a", encoding="utf8") as history:
            for event in events:
                if isinstance(event, Row):
                    history.write(json.dumps(event.values) + "\n")
                    history.flush()
                if isinstance(event, Kept):
                    tensors = {**event.tensors, "lam": torch.tensor(event.lam)}
                    save_snapshot(folder, event.step, tensors)
                if isinstance(event, Finished):
                    event.result["run_dir"] = name
                    _write_result(folder, event)
                    _set_status(folder, "finished")
                    remove_checkpoint(folder)
                    finished = True
                keeper.note(event)
                yield event
    except GeneratorExit:
        if not finished:
            try:
                keeper.save()
            finally:
                _set_status(folder, "stopped")
        raise
    except KeyboardInterrupt:
        # It may have come in the middle of a step: the last checkpoint is whole, the model is not.
        if not finished:
            _set_status(folder, "stopped")
        raise
    except BaseException as error:
        if isinstance(error, LossDiverged):
            remove_checkpoint(folder)  # going on from it would only diverge again
        _set_status(folder, "failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        _recorded.pop(place, None)
    _set_status(folder, "finished")


def _short(folder: Path) -> str:
    """From the working directory, if the folder is in it."""
    path, here = folder.absolute(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _write_result(folder: Path, event: Finished) -> None:
    # What a process that was killed while writing it left there would be taken for foreign files.
    shutil.rmtree(folder / "compressed", ignore_errors=True)
    place = save_pretrained(event.model, folder / "compressed")
    event.result["bytes_on_disk"] = sum(path.stat().st_size for path in place.iterdir())
    write_json(folder / "result.json", event.result)


def is_being_written(folder: Path | str) -> bool:
    """Whether another process or another thread trains into the folder.

    A thread that asks is not writing meanwhile: a run that it began and left is over. False where
    it can't be told.
    """
    try:
        status = read_json(Path(folder) / "status.json") or {}
    except (ValueError, OSError):
        return False
    # Without the time it can't be told from a process that got the same number later.
    if status.get("status") != "running" or "time" not in status or not is_alive(status):
        return False
    if status["pid"] != os.getpid():
        return True
    writer = _recorded.get(os.path.realpath(folder), threading.current_thread())
    return writer.is_alive() and writer is not threading.current_thread()


def delete_run(folder: Path | str) -> None:
    """Remove a run folder.

    Raises:
        FileNotFoundError: it is no run folder; nothing is removed.
        RuntimeError: it is being written.
    """
    _require_run(folder)
    _require_rest(folder, "deleted")
    shutil.rmtree(folder)


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
    folder, name = Path(folder), name.strip()
    _require_run(folder)
    _check_name(name)
    if name == folder.name:
        return folder
    _require_rest(folder, "renamed")
    new = folder.with_name(name)
    if os.path.lexists(new):
        raise FileExistsError(f"{name!r} is taken by another folder: choose another name")
    folder.rename(new)
    _correct_paths(new, folder.name)
    return new


def _require_run(folder: Path | str) -> None:
    if not (Path(folder) / "versions.json").is_file():
        raise FileNotFoundError(f"no run in {folder}: there is no versions.json")


def _require_rest(folder: Path | str, verb: str) -> None:
    if is_being_written(folder):
        raise RuntimeError(
            f"{Path(folder).name} is being written and can't be {verb}: stop the run, or wait for "
            "its end"
        )


def _check_name(name: str) -> None:
    reason = None
    if not name:
        reason = "it is empty"
    elif any(mark in name for mark in "/\\") or not name.isprintable():
        reason = "it may hold no / and no \\, and only characters that can be seen"
    elif name.startswith(".") or name == TEACHERS_FOLDER:
        reason = f"a name with a dot in front, or {TEACHERS_FOLDER!r}, is never listed as a run"
    elif len(name.encode()) > _LONGEST_NAME:
        reason = f"it has {len(name.encode())} bytes, {_LONGEST_NAME} is the most"
    if reason is not None:
        raise ValueError(f"a run can't be named {name!r}: {reason}; write letters, digits, - or _")


def _correct_paths(folder: Path, old_name: str) -> None:
    """Its own path is in the result; nothing else in the folder knows the name."""
    with contextlib.suppress(ValueError):
        result = read_json(folder / "result.json") or {}
        place = result.get("run_dir")
        if isinstance(place, str) and Path(place).name == old_name:
            new = str(Path(place).with_name(folder.name))
            write_json(folder / "result.json", {**result, "run_dir": new})
