"""One process at a time fine-tunes a teacher; whoever needs the same one waits for it."""

import time
from collections.abc import Generator
from pathlib import Path

from pclora_lab.locks import FolderLock
from pclora_lab.training.events import Event, PhaseStart

__all__ = ["lock_teacher"]

SECONDS_BETWEEN_TRIES = 0.5


def lock_teacher(folder: Path) -> Generator[Event, None, FolderLock]:
    """Wait until nobody else fine-tunes this teacher.

    Args:
        folder: of the teacher; made where it is missing.

    Yields:
        A phase ``waiting`` now and then, so that a run can be stopped meanwhile.

    Returns:
        The lock, to be released once the teacher is kept.
    """
    lock = FolderLock(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return lock  # nothing can be kept here, so nobody can be in the way
    # A thread that waits for itself would wait for ever; files are replaced in one step anyway.
    while not lock.is_held_by_this_thread and not lock.acquire():
        yield PhaseStart("waiting", 0)
        time.sleep(SECONDS_BETWEEN_TRIES)
    return lock
