"""SIGTERM, SIGHUP and Ctrl+C while a command trains: the step ends, then the run, in good order.

These handlers are the command line's. ``train()`` in somebody's script sets none.
"""

import atexit
import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from pclora_lab.cli.terminal import process_number
from pclora_lab.training.events import AdapterSnapshot, Event, LogRow, PhaseStart, RunEnd

__all__ = ["StopRequest", "Stopped", "end_quietly", "stop_requests"]

# Where there are no steps there is nothing to end, and nothing that a checkpoint could hold.
_PHASES_WITHOUT_STEPS = ("data", "start")


class Stopped(KeyboardInterrupt):
    """A signal has ended the command; ``run`` is the folder that it worked in, if there is one."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.run: str | None = None

    @property
    def exit_status(self) -> int:
        """As a shell tells it: 130 for Ctrl+C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number


class StopRequest:
    """Which signal has asked for an end, if any.

    Example:
        >>> request = StopRequest()
        >>> request.check(PhaseStart("test", 0))
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.handled: tuple[int, ...] = ()
        self._is_between_steps = False

    def check(self, event: Event | None = None) -> None:
        """End the command after this event, if that was asked for and can be done.

        Args:
            event: of a run; None where there is none.

        Raises:
            Stopped: a signal has come.
        """
        if isinstance(event, LogRow | AdapterSnapshot | RunEnd):
            return  # the step is not over, or all is
        if isinstance(event, PhaseStart):
            self._is_between_steps = event.name in _PHASES_WITHOUT_STEPS
        if self.number is not None:
            raise Stopped(self.number)

    def handle(self, number: int) -> None:
        """Note the first signal; the next one ends the process at once."""
        self.number = number
        for other in self.handled:
            # A terminal that is closed sends SIGHUP twice: by the kernel and by its shell.
            again = number == other == getattr(signal, "SIGHUP", None)
            signal.signal(other, signal.SIG_IGN if again else signal.SIG_DFL)
        if self._is_between_steps:
            raise Stopped(number)
        if not process_number():
            _say("\nstopping after this step; the next signal ends it at once\n")


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Inside, signals that ask for an end are noted; what was ignored before stays ignored.

    Where signals can't be handled (in another thread than the first) nothing changes.
    """
    request = StopRequest()
    before = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in _numbers()}
        # None was not set by Python: it can't be put back, so it is left alone.
        before = {n: h for n, h in handlers.items() if h not in (signal.SIG_IGN, None)}
    try:
        request.handled = tuple(before)
        for number in before:
            signal.signal(number, lambda number, _: request.handle(number))
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _numbers() -> list[int]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _say(text: str) -> None:
    # The interrupted code may be in the middle of a print.
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def end_quietly() -> None:
    """Let no Ctrl+C into the end of Python, which libraries tidy up in: it would be a traceback.

    The handler runs at the exit, before those that were registered earlier; a process that goes on
    after a command hears Ctrl+C as before.
    """
    atexit.unregister(_ignore_interrupts)
    atexit.register(_ignore_interrupts)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
