"""Who works in a folder: one process and thread at a time, and the others are told which.

The operating system lets go of a lock when its process ends, however it ends. Across the nodes of a
network file system that holds where the file system locks across nodes.
"""

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pclora_lab.machine import describe_process, this_process
from pclora_lab.remarks import remark
from pclora_lab.wording import explained

__all__ = ["LOCK_FILE", "FolderLock"]

LOCK_FILE = ".lock"

# Which thread of this process holds a lock. Another process finds nothing here.
_holders: dict[str, int] = {}


class FolderLock:
    """The right to write into a folder.

    Args:
        folder: that must exist.
        name: of the lock's file in it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> mine, other = FolderLock(folder), FolderLock(folder)
        >>> mine.acquire(), other.acquire()
        (True, False)
        >>> other.holder.startswith("process")
        True
        >>> mine.release()
        >>> other.acquire()
        True
        >>> other.release()
    """

    def __init__(self, folder: Path, name: str = LOCK_FILE) -> None:
        self.path = Path(os.path.realpath(folder)) / name
        # A run may be stopped by another thread than the one that began it.
        self._lock = FileLock(self.path, thread_local=False)

    def acquire(self) -> bool:
        """Whether it is ours now; False where somebody else has it.

        Where nothing can be locked it is ours too, with a warning.
        """
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except (OSError, NotImplementedError) as error:
            remark(
                f"{self.path.parent.name} can't be locked ({explained(error)}): see to it that "
                "no other process writes there meanwhile"
            )
            return True
        _holders[str(self.path)] = threading.get_ident()
        self._sign()
        return True

    def release(self) -> None:
        """Let others have it; nothing happens if it was not ours."""
        if self._lock.is_locked:
            _holders.pop(str(self.path), None)
            self._lock.release()

    @property
    def holder(self) -> str:
        """Who has it, as a person reads it."""
        facts: Any = None
        with contextlib.suppress(OSError, ValueError, RecursionError):
            facts = json.loads(self.path.read_text(encoding="utf8"))
        return describe_process(facts if isinstance(facts, dict) else {})

    @property
    def is_held_by_this_thread(self) -> bool:
        """Whether waiting for it would never end."""
        return _holders.get(str(self.path)) == threading.get_ident()

    def _sign(self) -> None:
        """Who holds it stands in the file, for :attr:`holder` only."""
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
            with open(os.open(self.path, flags), "w", encoding="utf8") as file:
                json.dump(this_process(), file, allow_nan=False)
