"""A sign of life: a file that is touched every few seconds, from a thread of its own."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["SECONDS_BETWEEN_BEATS", "beating"]

SECONDS_BETWEEN_BEATS = 10.0


@contextlib.contextmanager
def beating(path: Path) -> Iterator[None]:
    """Inside, the time of a file is kept new, also while a step takes minutes or the run pauses.

    Args:
        path: of the file; where it is gone nothing happens.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(SECONDS_BETWEEN_BEATS):
            with contextlib.suppress(OSError, NotImplementedError):
                os.utime(path, follow_symlinks=False)

    threading.Thread(target=beat, name=f"heartbeat {path.parent.name}", daemon=True).start()
    try:
        yield
    finally:
        over.set()
