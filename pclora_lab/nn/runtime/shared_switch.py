"""A setting of the whole process that is on while anybody needs it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["SharedSwitch"]


class SharedSwitch:
    """Turned on for the first one who asks, and back when the last one has left.

    Args:
        on: turns it on and returns what turns it back.

    Example:
        >>> def on():
        ...     print("on")
        ...     return lambda: print("off")
        >>> switch = SharedSwitch(on)
        >>> with switch.held(), switch.held():
        ...     print("inside")
        on
        inside
        off
    """

    def __init__(self, on: Callable[[], Callable[[], object]]) -> None:
        self._on, self._users = on, 0
        self._off: Callable[[], object] = on
        # Whoever holds it may be interrupted by the garbage collector, which may close a run.
        self._lock = threading.RLock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """It is on inside."""
        with self._lock:
            if not self._users:
                self._off = self._on()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._off()
