"""Workers on this machine: loky's processes, as joblib brings them.

They need no ``if __name__ == "__main__"`` in the script that starts them, and their end is noticed.
Each worker has a pool of its own, since the death of one process ends all of its pool.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor

from pclora_lab.runs.comparison.workers import Needs, Workers

__all__ = ["LokyEngine"]

_SECONDS_TO_STOP = 20.0
# Of this process, if it is a worker.
_is_at_work = False


class LokyEngine:
    """Processes of this machine, each begun when it is first needed.

    Args:
        workers: how many, and on which devices.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._pools: dict[int, Any] = {}
        self._busy: set[int] = set()

    def run(self, worker: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in a worker's process; the next call gets a new one if it dies."""
        if worker not in self._pools:
            environment = self._workers.environment(worker)
            self._pools[worker] = ProcessPoolExecutor(
                1, timeout=None, env=environment, initializer=_end_in_good_order
            )
        self._busy.add(worker)
        try:
            return self._pools[worker].submit(_at_work, function, *arguments).result()
        except BaseException:
            self._pools.pop(worker, None)
            raise
        finally:
            self._busy.discard(worker)

    def room(self, needs: Needs) -> int:
        """What was asked for: this machine was looked at then."""
        return self._workers.count or 1

    def interrupt(self) -> None:
        """End every process after the step that it is at; a run that goes on keeps a checkpoint."""
        for worker in list(self._busy):
            for process in self._processes(worker):
                with contextlib.suppress(OSError):
                    os.kill(process.pid, signal.SIGTERM)

    def close(self) -> None:
        """End the processes."""
        until = time.monotonic() + _SECONDS_TO_STOP
        for worker, pool in list(self._pools.items()):
            if worker not in self._busy:
                pool.shutdown(wait=True)
                continue
            for process in self._processes(worker):
                process.join(max(0.0, until - time.monotonic()))
            pool.shutdown(wait=False, kill_workers=True)

    def _processes(self, worker: int) -> list[Any]:
        pool = self._pools.get(worker)
        processes = dict(getattr(pool, "_processes", None) or {}).values()
        return [process for process in processes if process.is_alive()]


def _at_work(function: Callable[..., Any], *arguments: Any) -> Any:
    """In a worker: the function, which an interrupt ends together with the process."""
    global _is_at_work
    _is_at_work = True
    try:
        return function(*arguments)
    except KeyboardInterrupt:  # the run has its checkpoint; loky would wait for another cell
        os._exit(0)
    finally:
        _is_at_work = False


def _end_in_good_order() -> None:
    """In a worker: SIGTERM ends it like Ctrl+C, and its run writes a checkpoint first."""
    signal.signal(signal.SIGTERM, lambda *_: _end())
    signal.signal(signal.SIGINT, lambda *_: _end())


def _end() -> None:
    if _is_at_work:
        raise KeyboardInterrupt
    os._exit(0)  # between two cells there is nothing to tidy up
