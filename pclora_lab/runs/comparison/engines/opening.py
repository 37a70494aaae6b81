"""From what was asked for to an engine that answers, and the number of workers that it has."""

import dataclasses
from pathlib import Path

from pclora_lab.runs.comparison.backend import DASK, LOKY, RAY
from pclora_lab.runs.comparison.engines.engine import Engine
from pclora_lab.runs.comparison.engines.loky_engine import LokyEngine
from pclora_lab.runs.comparison.work import look_around
from pclora_lab.runs.comparison.workers import Needs, Workers, needs_of, within
from pclora_lab.training.config import RunConfig
from pclora_lab.wording import brief

__all__ = ["Opened", "last_line", "open_engine"]


@dataclasses.dataclass(frozen=True)
class Opened:
    """An engine that answers.

    Attributes:
        engine: to be closed.
        count: of its workers.
        precision: what ``auto`` stands for where they compute; None where it can't be told.
    """

    engine: Engine
    count: int
    precision: str | None


def open_engine(workers: Workers, base: RunConfig, out: Path) -> Opened:
    """Connect, and let a worker have a look around.

    Args:
        workers: as they were asked for.
        base: the configuration of every cell.
        out: the comparison's folder, by its whole path.

    Raises:
        ConnectionError: nobody answers at the address.
        RuntimeError: a worker there can't begin.
        ValueError: more workers than there is room for, or none.
    """
    if workers.backend.name == LOKY:
        found = needs_of(base).precision if base.precision == "auto" else base.precision
        return Opened(LokyEngine(workers), workers.count or 1, found)
    engine = _engine(workers, base)
    try:
        needs = _needs(engine, workers.backend.name, base, out)
        if workers.count is None:
            count = engine.room(needs)
        else:  # whoever gives a number knows what fits into the memory
            most = engine.room(dataclasses.replace(needs, memory=0.0))
            count = within(workers.count, most, f"places for one in this {workers.backend.name}")
    except BaseException:
        engine.close()
        raise
    return Opened(engine, count, needs.precision)


def _engine(workers: Workers, base: RunConfig) -> Engine:
    # Each is imported where it is asked for: the packages are large, and optional.
    if workers.backend.name == RAY:
        from pclora_lab.runs.comparison.engines.ray_engine import RayEngine

        return RayEngine(workers, base)
    if workers.backend.name == DASK:
        from pclora_lab.runs.comparison.engines.dask_engine import DaskEngine

        return DaskEngine(workers)
    from pclora_lab.runs.comparison.engines.joblib_engine import JoblibEngine

    return JoblibEngine(workers)


def _needs(engine: Engine, name: str, base: RunConfig, out: Path) -> Needs:
    try:
        return engine.run(0, look_around, base, out)
    except Exception as error:
        raise RuntimeError(
            f"a worker of {name} can't begin: {brief(last_line(error))}. Every node needs the same "
            "versions of Python, torch and pclora_lab, and the comparison's folder"
        ) from error


def last_line(error: BaseException) -> str:
    """What happened; engines put the stack of the other process in front of it.

    Example:
        >>> last_line(RuntimeError("Traceback ...\\n  File ...\\nOSError: no disk\\n"))
        'OSError: no disk'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
