"""Workers of dask: of a cluster that runs, or one of this machine."""

from collections.abc import Callable
from typing import Any

from pclora_lab.runs.comparison.engines.patience import within_seconds
from pclora_lab.runs.comparison.workers import Needs, Workers

__all__ = ["DaskEngine"]

_SECONDS_TO_CONNECT = 20.0


class DaskEngine:
    """A client of dask's.

    dask begins a task again when its worker dies; :func:`~pclora_lab.runs.comparison.work.work`
    does not take part in that.

    Args:
        workers: how many, where, and with which variables.

    Raises:
        ConnectionError: nobody answers.
        ValueError: workers that run several cells in one process, or variables that come too late.
    """

    def __init__(self, workers: Workers) -> None:
        self._cluster = self._local(workers) if workers.backend.address is None else None
        self._client = self._connected(workers)
        self._check(workers)

    def _local(self, workers: Workers) -> Any:
        from distributed import LocalCluster

        if workers.devices:
            raise ValueError(
                "dask gives its workers on this machine no GPU of their own: leave the backend "
                "out, or start dask-cuda's workers and give their address"
            )
        return LocalCluster(
            n_workers=workers.count,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            env=workers.environment(),
            silence_logs=True,
        )

    def _connected(self, workers: Workers) -> Any:
        from distributed import Client

        backend = workers.backend
        backend.require_answer()
        found: list[Any] = []
        try:
            # dask's own limit is for each of its tries.
            at = self._cluster or backend.address
            within_seconds(_SECONDS_TO_CONNECT, lambda: found.append(Client(at)))
        except OSError as error:  # a TimeoutError is one
            raise backend.no_answer(str(error)) from error
        return found[0]

    def _check(self, workers: Workers) -> None:
        if self._cluster is not None:
            return
        try:
            if workers.backend.environment:
                raise ValueError(
                    "environment is given, but the workers of this dask run already: set the "
                    "variables where they are started"
                )
            threads = [facts["nthreads"] for facts in self._workers().values()]
            if any(count > 1 for count in threads):
                raise ValueError(
                    f"a worker of this dask has {max(threads)} threads and would run as many cells "
                    "in one process: start the workers with --nthreads 1"
                )
        except ValueError:
            self.close()
            raise

    def _workers(self) -> dict[str, Any]:
        return dict(self._client.scheduler_info(n_workers=-1)["workers"])

    def run(self, worker: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on whichever worker is free; there are as many calls as workers."""
        return self._client.submit(function, *arguments, pure=False, retries=0).result()

    def room(self, needs: Needs) -> int:
        """Workers that have the memory; a limit of 0 is none."""
        limits = [facts.get("memory_limit") or 0 for facts in self._workers().values()]
        fit = [limit for limit in limits if not limit or limit >= needs.memory]
        if not fit:
            gigabytes = needs.memory / 1e9
            raise ValueError(
                f"none of dask's {len(limits)} workers has {gigabytes:.1f} GB for a cell: start "
                "some, with a larger --memory-limit"
            )
        return len(fit)

    def interrupt(self) -> None:
        """dask's workers are threads, which nothing interrupts."""

    def close(self) -> None:
        """Let the cluster go; one of this machine ends."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()
