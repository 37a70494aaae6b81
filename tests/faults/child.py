"""A child of a process that has imported everything: a command line without the start of Python.

Importing torch takes three seconds, a fork some milliseconds, so that hundreds of processes can be
killed in a few minutes."""

import atexit
import importlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Child", "Ended", "command_line", "warm_up"]

# What a run needs beside the package's own modules; nothing of it starts a thread.
_MODULES = (
    "torch", "timm", "transformers", "accelerate", "datasets", "pandas", "sklearn.datasets", "PIL",
    "transformers.models.bert.modeling_bert",
)  # fmt: skip

_SHOULD_HAVE_ENDED = 60.0


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit status, negative for a signal that ended it; None for one that hung.
        out: what it wrote to stdout.
        err: what it wrote to stderr.
        seconds: how long it took.
    """

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def has_traceback(self) -> bool:
        """Whether a person would have seen one."""
        return "Traceback (most recent call last)" in self.err

    @property
    def message(self) -> str:
        """The last line of stderr that the command line wrote."""
        lines = [line for line in self.err.splitlines() if line.startswith("pclora-lab: ")]
        return lines[-1] if lines else ""


class Child:
    """A process that runs a function.

    Args:
        work: what it runs; its number is the exit status.
        folder: where it works; its output is kept there.
        name: of the files for its output.
    """

    def __init__(self, work: Callable[[], int | None], folder: Path, name: str = "child") -> None:
        self._out, self._err = (folder / f".{name}.{kind}" for kind in ("out", "err"))
        self._began = time.monotonic()
        for path in (self._out, self._err):
            path.write_bytes(b"")
        self.pid = os.fork()
        if self.pid == 0:
            _become(work, folder, self._out, self._err)
        self._handle = os.pidfd_open(self.pid)
        self._code: int | None = None

    def wait(self, seconds: float) -> bool:
        """Whether it has ended after that time at most."""
        if self._handle < 0:
            return True
        if not select.select([self._handle], [], [], max(0.0, seconds))[0]:
            return False
        self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._handle)
        self._handle = -1
        return True

    def send(self, number: int) -> None:
        """A signal, to it alone."""
        if self._handle >= 0:
            signal.pidfd_send_signal(self._handle, number)

    def err(self) -> str:
        """What it has written to stderr up to now."""
        return self._err.read_text(encoding="utf8", errors="replace")

    def end(self, seconds: float = _SHOULD_HAVE_ENDED) -> Ended:
        """Wait for its end; one that does not end is killed and counts as hung."""
        hangs = not self.wait(seconds)
        if hangs:
            self.send(signal.SIGKILL)
            self.wait(_SHOULD_HAVE_ENDED)
        out = self._out.read_text(encoding="utf8", errors="replace")
        taken = time.monotonic() - self._began
        return Ended(None if hangs else self._code, out, self.err(), taken)


def _become(work: Callable[[], int | None], folder: Path, out: Path, err: Path) -> None:
    """What a fresh process would be; never returns."""
    code = 70
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.chdir(folder)
        for path, number in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
        sys.stdout = open(1, "w", encoding="utf8", closefd=False)
        sys.stderr = open(2, "w", encoding="utf8", closefd=False, buffering=1)
        code = _run(work)
    finally:
        os._exit(code)


def _run(work: Callable[[], int | None]) -> int:
    try:
        code = int(work() or 0)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 130
    except BaseException:  # noqa: BLE001 - the end of the process
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def warm_up() -> None:
    """Import what runs import, before the first fork."""
    import pclora_lab

    for name in _MODULES:
        importlib.import_module(name)
    root = Path(pclora_lab.__file__).parent
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] not in ("ui", "__main__") and parts[-1] != "__init__":
            importlib.import_module(".".join(("pclora_lab", *parts)))


def command_line(*argv: object) -> Callable[[], int]:
    """The package's command line with these arguments, to be run in a child."""

    def work() -> int:
        from pclora_lab.cli.main import main

        return main([str(part) for part in argv])

    return work
