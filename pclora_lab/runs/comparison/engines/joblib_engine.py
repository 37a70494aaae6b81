"""Workers of whatever is registered with joblib, such as Spark's: a call for every cell."""

from collections.abc import Callable
from typing import Any

from joblib.parallel import Parallel, delayed, effective_n_jobs, parallel_config

from pclora_lab.runs.comparison.workers import Needs, Workers

__all__ = ["JoblibEngine"]


class JoblibEngine:
    """A backend of joblib's, with one task in each of its calls.

    Args:
        workers: how many, and of which backend.
    """

    def __init__(self, workers: Workers) -> None:
        self._name = workers.backend.name
        # A backend that is asked for a single job may run it in this process.
        self._jobs = max(2, workers.count or self._there())

    def _there(self) -> int:
        with parallel_config(backend=self._name):
            return effective_n_jobs(-1)

    def run(self, worker: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function wherever the backend wants to; joblib counts no workers."""
        with parallel_config(backend=self._name, n_jobs=self._jobs):
            (result,) = Parallel(batch_size=1)([delayed(function)(*arguments)])
        return result

    def room(self, needs: Needs) -> int:
        """What the backend says; it knows nothing of memory."""
        return self._there()

    def interrupt(self) -> None:
        """There is no way to reach a single task."""

    def close(self) -> None:
        """The backend belongs to whoever registered it."""
