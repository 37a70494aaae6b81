"""The run folder: what was asked for, what happened, and the model that came out.

``config.json`` · ``versions.json`` · ``status.json`` · ``history.jsonl`` (a line per row) ·
``result.json`` · ``snapshots/`` · ``compressed/``. Lines are appended and flushed, files are
replaced in one step, so a process that is killed leaves a folder that can be read.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from pclora_lab.config import RunConfig
from pclora_lab.events import Event, Finished, Kept, Row
from pclora_lab.export import save_pretrained
from pclora_lab.snapshots import save_snapshot

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Run", "list_runs", "load_run", "new_run_folder", "record", "versions", "write_json"]

_PACKAGES = ("torch", "timm", "transformers", "accelerate", "datasets", "safetensors", "numpy")


def write_json(path: Path, value: object) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never half of one."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    part.replace(path)


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


def _set_status(folder: Path, status: str, error: str | None = None) -> None:
    write_json(
        folder / "status.json",
        {"status": status, "error": error, "pid": os.getpid(), "time": time.time()},
    )


def record(events: Iterator[Event], folder: Path) -> Iterator[Event]:
    """Pass events through and write them down; the status follows how the run ends.

    Closing the generator (a stop) or an interrupt leaves status ``stopped``; an exception leaves
    ``failed`` with its message. Both go on to the caller.
    """
    finished = False
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
                    event.result["run_dir"] = str(folder)
                    _write_result(folder, event)
                    _set_status(folder, "finished")
                    finished = True
                yield event
    except (GeneratorExit, KeyboardInterrupt):
        if not finished:
            _set_status(folder, "stopped")
        raise
    except BaseException as error:
        _set_status(folder, "failed", f"{type(error).__name__}: {error}")
        raise
    _set_status(folder, "finished")


def _write_result(folder: Path, event: Finished) -> None:
    place = save_pretrained(event.model, folder / "compressed")
    event.result["bytes_on_disk"] = sum(path.stat().st_size for path in place.iterdir())
    write_json(folder / "result.json", event.result)


@dataclass(frozen=True)
class Run:
    """A run folder, read.

    Attributes:
        folder: where it is.
        config: as written; see :meth:`RunConfig.from_dict`.
        status: running, finished, stopped or failed.
        error: message of a failed run.
        rows: the history, a dict per row.
        result: final numbers, or None.
    """

    folder: Path
    config: dict[str, Any]
    status: str
    error: str | None
    rows: list[dict[str, Any]]
    result: dict[str, Any] | None

    def history(self) -> "pd.DataFrame":
        """The rows as a table."""
        import pandas as pd

        return pd.DataFrame(self.rows)


def load_run(folder: Path | str) -> Run:
    """Read a run folder, also one that is being written or whose process was killed.

    Raises:
        FileNotFoundError: there is no run in the folder.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"no run in {folder}: there is no config.json")
    status = _read_json(folder / "status.json") or {"status": "failed", "error": "no status"}
    if status["status"] == "running" and not psutil.pid_exists(status.get("pid", -1)):
        status = {"status": "failed", "error": "the process ended without a word (killed?)"}
    return Run(
        folder=folder,
        config=_read_json(folder / "config.json") or {},
        status=status["status"],
        error=status.get("error"),
        rows=_read_rows(folder / "history.jsonl"),
        result=_read_json(folder / "result.json"),
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else None


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """All complete lines; a process killed in mid-line leaves a last one that is not."""
    rows = []
    for line in path.read_text(encoding="utf8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def list_runs(root: Path | str) -> list[Run]:
    """All runs below a folder, newest first."""
    configs = Path(root).glob("*/status.json")
    newest = sorted(configs, key=lambda path: path.stat().st_mtime, reverse=True)
    return [load_run(path.parent) for path in newest]


def delete_run(folder: Path | str) -> None:
    """Remove a run folder.

    Raises:
        FileNotFoundError: it is no run folder; nothing is removed.
    """
    if not (Path(folder) / "versions.json").is_file():
        raise FileNotFoundError(f"no run in {folder}: there is no versions.json")
    shutil.rmtree(folder)
