"""How long the kernel has had no cell to run, so that it could take in what a page says."""

import time
from functools import cache

from IPython.core.getipython import get_ipython

__all__ = ["seconds_at_rest"]


class _Rest:
    """Is told by IPython when a cell begins and when it ends."""

    def __init__(self) -> None:
        # Outside a notebook there are no cells.
        self.since: float | None = float("-inf")
        shell = get_ipython()
        if shell is not None:
            self._end()
            shell.events.register("pre_run_cell", self._begin)
            shell.events.register("post_run_cell", self._end)

    def _begin(self, _: object = None) -> None:
        self.since = None

    def _end(self, _: object = None) -> None:
        self.since = time.monotonic()


@cache
def _rest() -> _Rest:
    return _Rest()


def seconds_at_rest() -> float:
    """Seconds since the last cell ended; 0 while one runs. Counted from the first call on.

    Example:
        >>> seconds_at_rest() >= 0
        True
    """
    since = _rest().since
    return 0.0 if since is None else time.monotonic() - since
