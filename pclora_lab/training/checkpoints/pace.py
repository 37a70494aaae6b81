"""When a checkpoint is due: seldom enough to cost next to nothing."""

import time

__all__ = ["Pace"]

SECONDS_BETWEEN = 5.0
SECONDS_AFTER_FAILURE = 60.0
# Writing may take no more than this share of the time.
SHARE_FOR_WRITING = 0.01


class Pace:
    """Says when to write next: at most 1% of the time goes into it.

    Example:
        >>> Pace().is_due
        False
    """

    def __init__(self) -> None:
        self._next = time.monotonic() + SECONDS_BETWEEN

    @property
    def is_due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() >= self._next

    def wrote(self, seconds: float) -> None:
        """Note that something was written, and how long that took."""
        self._next = time.monotonic() + max(SECONDS_BETWEEN, seconds / SHARE_FOR_WRITING)

    def failed(self) -> None:
        """Note that nothing could be written."""
        self._next = time.monotonic() + SECONDS_AFTER_FAILURE
