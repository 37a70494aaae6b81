"""What a run writes about itself: how it is doing, and with which versions."""

import contextlib
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pclora_lab.json_files import write_json
from pclora_lab.machine import this_process

__all__ = ["set_status", "versions"]

_PACKAGES = ("torch", "timm", "transformers", "accelerate", "datasets", "safetensors", "numpy")


def versions() -> dict[str, str]:
    """Versions of what determines a result."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def set_status(folder: Path, status: str, error: str | None = None) -> None:
    """Write ``status.json``, which names this process.

    Args:
        folder: of the run.
        status: running, finished, stopped or failed.
        error: message of a failed run.

    Raises:
        OSError: it can't be written.
    """
    write_json(
        folder / "status.json",
        {"status": status, "error": error, "time": time.time(), **this_process()},
    )
