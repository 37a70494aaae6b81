"""How long a run has taken, without the time that somebody else had its thread."""

import contextlib
import time
from collections.abc import Iterator

__all__ = ["RunClock"]


class RunClock:
    """Counts seconds from when it is made.

    Attributes:
        paused: seconds that were not the run's.

    Example:
        >>> clock = RunClock()
        >>> with clock.waiting():
        ...     before = clock.seconds
        ...     _ = sum(range(10**5))
        ...     clock.seconds == before
        True
    """

    def __init__(self) -> None:
        self._began, self.paused = time.perf_counter(), 0.0
        self._waits_since: float | None = None

    @property
    def seconds(self) -> float:
        """That the run has taken so far, without pauses."""
        now = time.perf_counter() if self._waits_since is None else self._waits_since
        return now - self._began - self.paused

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Time in here is not the run's: somebody else has the thread, or pauses it."""
        began = self._waits_since = time.perf_counter()
        try:
            yield
        finally:
            self.paused += time.perf_counter() - began
            self._waits_since = None

    def add(self, seconds: float) -> None:
        """Count what a run that is taken up had taken before."""
        self._began -= seconds
