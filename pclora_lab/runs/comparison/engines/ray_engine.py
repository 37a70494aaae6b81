"""Workers of Ray: of a cluster that runs, or of this machine. A cell is a task of Ray's.

Ray restarts none of them. One that Ray starts on this machine listens on 127.0.0.1 and asks for a
token.
"""

import os
from collections.abc import Callable
from typing import Any

from pclora_lab.runs.comparison.engines.patience import within_seconds
from pclora_lab.runs.comparison.workers import Needs, Workers
from pclora_lab.training.config import RunConfig

__all__ = ["RayEngine"]

_SECONDS_TO_CONNECT = 20.0


class RayEngine:
    """Tasks of Ray's, one for each cell.

    Args:
        workers: how many, where, and with which variables.
        base: says whether a cell needs a GPU.

    Raises:
        ConnectionError: nobody answers.
        ValueError: a GPU is asked for and the cluster has none.
    """

    def __init__(self, workers: Workers, base: RunConfig) -> None:
        if workers.backend.address is None:
            # Ray reads them when it is imported. The second one keeps it from listening to other
            # machines on Linux, too, in spite of its name.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        import ray

        self._running: set[Any] = set()
        self._ray, self._is_ours = ray, not ray.is_initialized()
        if self._is_ours:
            self._connect(workers)
        try:
            self._needs_gpu = self._takes_gpu(base)
        except ValueError:
            self.close()
            raise
        self._call = ray.remote(
            num_cpus=1,
            num_gpus=int(self._needs_gpu),
            max_retries=0,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": workers.environment()},
        )(_call)

    def _connect(self, workers: Workers) -> None:
        backend = workers.backend
        backend.require_answer()
        quiet = {"log_to_driver": False, "logging_level": "error"}
        if backend.address is None:
            local = {"num_cpus": workers.count, "num_gpus": len(workers.devices)}
            self._ray.init("local", include_dashboard=False, **local, **quiet)
            return
        try:
            within_seconds(_SECONDS_TO_CONNECT, lambda: self._ray.init(backend.address, **quiet))
        except (OSError, RuntimeError) as error:
            raise backend.no_answer(str(error)) from error

    def _takes_gpu(self, base: RunConfig) -> bool:
        """Whether each cell is given a GPU, so that all of them compute on the same kind."""
        has_gpu = self._ray.cluster_resources().get("GPU", 0) >= 1
        if base.device == "cuda" and not has_gpu:
            raise ValueError(
                'device is "cuda", but no node of this Ray has a GPU: start one that has, or take '
                "device auto or cpu"
            )
        return has_gpu and base.device != "cpu"

    def run(self, worker: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on whichever node has room; there are as many calls as workers."""
        task = self._call.remote(function, *arguments)
        self._running.add(task)
        try:
            return self._ray.get(task)
        finally:
            self._running.discard(task)

    def room(self, needs: Needs) -> int:
        """By the CPU cores, GPUs and memory of every node."""
        kind = "GPU" if self._needs_gpu else "CPU"
        room = 0
        for node in self._ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            cells = min(has.get(kind, 0), has.get("CPU", 0))
            fit = has.get("memory", 0) / needs.memory if needs.memory else cells
            room += int(min(cells, fit))
        if room == 0:
            raise ValueError(
                f"no node of this Ray has a {kind} and {needs.memory / 1e9:.1f} GB for a cell: "
                "start some"
            )
        return room

    def interrupt(self) -> None:
        """Workers look for the stop file themselves, and end between two steps."""

    def close(self) -> None:
        """End what runs; a Ray that was here before goes on."""
        for task in list(self._running):
            self._ray.cancel(task, force=True)
        if self._is_ours:
            self._ray.shutdown()


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
