"""A disk that fails at one operation, that is full, or a process that ends there."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Fault", "compiled", "operations", "with_fault"]

_SOURCE = Path(__file__).with_name("preload.c")


@dataclass(frozen=True)
class Fault:
    """What happens to the file operations below a folder, counted from 1.

    Attributes:
        kill_before: the process ends before this one.
        kill_after: it ends after this one; a write is done by half.
        first, last: these fail with ``error``.
        error: an errno.
        room: bytes that fit on the disk; -1 for any.
    """

    kill_before: int = 0
    kill_after: int = 0
    first: int = 0
    last: int = 0
    error: int = 0
    room: int = -1


def compiled() -> Path | None:
    """The library, to be preloaded; None where there is no compiler."""
    if not (compiler := shutil.which("cc") or shutil.which("gcc")):
        return None
    library = Path(tempfile.mkdtemp(prefix="pclora_faults_")) / "preload.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    return library if done.returncode == 0 else None


def with_fault(
    work: Callable[[], int], fault: Fault, folder: Path, log: Path | None = None
) -> Callable[[], int]:
    """The same work with a fault of the disk below a folder.

    Args:
        work: run in a child of a process that was started with the library.
        fault: what happens.
        folder: where.
        log: every operation is written there, a line each.
    """

    def faulty() -> int:
        ctypes.CDLL(None).faults_arm(
            os.fsencode(folder),
            ctypes.c_long(fault.kill_before),
            ctypes.c_long(fault.kill_after),
            ctypes.c_long(fault.first),
            ctypes.c_long(fault.last),
            ctypes.c_int(fault.error),
            ctypes.c_longlong(fault.room),
            os.fsencode(log) if log else b"",
        )
        return work()

    return faulty


def operations(log: Path) -> list[str]:
    """What was done to files, in order: the verb and the path."""
    return [line.partition(" ")[2] for line in log.read_text(errors="replace").splitlines()]
