"""A call that is waited for so long and no longer."""

import threading
from collections.abc import Callable

__all__ = ["within_seconds"]


def within_seconds(seconds: float, call: Callable[[], object]) -> None:
    """Wait for a call; where it takes longer it is left to itself.

    Args:
        seconds: to wait.
        call: what may never end.

    Raises:
        TimeoutError: it takes longer.
        Exception: what it raises.

    Example:
        >>> within_seconds(5.0, lambda: None)
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"nothing was heard for {seconds:.0f} s")
    if raised:
        raise raised[0]
