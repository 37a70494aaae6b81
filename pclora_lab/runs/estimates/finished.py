"""The finished runs that a forecast rests on: those of a folder, and those that were shipped."""

from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pclora_lab.files import data_dir, given_path
from pclora_lab.json_files import read_json
from pclora_lab.machine import is_on_this_machine
from pclora_lab.runs.durable.stored import read_result
from pclora_lab.tasks.registry import metrics_of
from pclora_lab.training.config import RunConfig, upgrade_config

__all__ = ["FinishedRun", "finished_runs", "shipped_runs"]

_RECORD = "expected.json"
_TIMES = ("latency_ms_before", "latency_ms_after")


class FinishedRun(NamedTuple):
    """What a forecast needs of a run.

    Attributes:
        config: its settings.
        numbers: ``params_after`` and the metric that ranks, such as ``accuracy``; latencies where
            they were measured.
        is_here: whether it ran on this machine.
        is_shipped: whether it is of the record that comes with the package.
    """

    config: RunConfig
    numbers: dict[str, Any]
    is_here: bool = True
    is_shipped: bool = False


def finished_runs(runs: Path | str) -> Iterator[FinishedRun]:
    """Those of a folder, oldest first; what is no finished run is passed over."""
    for path in sorted(given_path(runs, "runs").resolve().glob("*/result.json"), key=_age):
        found = _read_run(path, _age(path), _age(path.with_name("status.json")))
        if found is not None:
            yield found


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # deleted just now
        return 0


@lru_cache(maxsize=4096)
def _read_run(path: Path, *ages: int) -> FinishedRun | None:
    """Config and result of a finished run; None if it can't be read. ``ages`` renew the cache."""
    try:
        status = read_json(path.with_name("status.json")) or {}
        if (settings := read_json(path.with_name("config.json"))) is None:
            return None  # and no run of the default settings
        config = upgrade_config(settings)
        result = read_result(path.parent, measured=True) or {}
        numbers = {name: result[name] for name in ("params_after", metrics_of(result)[0].key)}
        numbers |= {name: result.get(name) for name in _TIMES}
        # λ may have been moved by hand, which the settings do not tell.
        config["overrides"] = result.get("overrides", config.get("overrides", ()))
        if status["status"] != "finished":
            return None
        return FinishedRun(RunConfig.from_dict(config), numbers, is_on_this_machine(status))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Half written, of another version, or no run at all.
        return None


@cache
def shipped_runs() -> tuple[FinishedRun, ...]:
    """Runs of the built-in presets at several ranks; ``tests/benchmarks/expected.py`` made them.

    Example:
        >>> {run.config.model for run in shipped_runs()} >= {"vit_digits", "bert_glosses"}
        True
    """
    record = read_json(data_dir("results") / _RECORD) or {}
    return tuple(
        FinishedRun(
            RunConfig.from_dict(upgrade_config(row["config"])), row, is_here=False, is_shipped=True
        )
        for row in record.get("runs", ())
    )
