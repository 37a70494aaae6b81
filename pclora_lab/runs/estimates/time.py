"""How long would a run take? Finished runs of the same kind on this machine are asked."""

import statistics
from collections.abc import Sequence

from pclora_lab.files import given_path
from pclora_lab.json_files import read_json
from pclora_lab.machine import is_on_this_machine
from pclora_lab.runs.estimates.alike import comparable
from pclora_lab.runs.reader import Run
from pclora_lab.runs.result_columns import finite
from pclora_lab.training.config import RunConfig

__all__ = ["expected_seconds"]

# Of runs that are alike the newest say most about the machine as it is.
_MOST_RUNS = 5

# What sets the size of the result changes the time of a step by less than the machine does.
_FREE = ("rank", "budget", "ratio", "sparsity", "width", "steps", "lr", "overrides")


def expected_seconds(config: RunConfig, runs: Sequence[object]) -> float | None:
    """Seconds that a run will take from its start to its result, as far as runs here tell.

    Each finished run that differs in its size, steps, learning rate and seed only gives
    ``t · n / m + c``: t seconds between the first and the last of its m steps, c seconds before and
    after them, n steps now. The median of the newest five is taken. A teacher that has to be
    fine-tuned is not in it: such runs have left one.

    Args:
        config: the run that one thinks of.
        runs: of one folder, newest first, as :func:`pclora_lab.runs.scan_runs` gives them; what
            is no finished run of this machine is passed over.

    Returns:
        None where no run can tell.

    Example:
        >>> expected_seconds(RunConfig(), []) is None
        True
    """
    found: list[float] = []
    for run in runs:
        if isinstance(run, Run) and run.result is not None and _is_like(run, config):
            seconds = _seconds(run, config.steps)
            found += [seconds] if seconds is not None else []
        if len(found) == _MOST_RUNS:
            break
    return statistics.median(found) if found else None


def _is_like(run: Run, wanted: RunConfig) -> bool:
    try:
        status = read_json(given_path(run.folder, "folder") / "status.json") or {}
        alike = comparable(RunConfig.from_dict(run.config), wanted, *_FREE)
        return alike and is_on_this_machine(status)
    except (OSError, ValueError, TypeError, KeyError):
        return False  # of another version, or half written


def _seconds(run: Run, steps: int) -> float | None:
    whole = finite((run.result or {}).get("seconds"))
    rows = [row for row in run.rows if row.get("phase") == "fade"]
    times = [finite(row.get("seconds")) for row in rows]
    made = finite(rows[-1].get("step")) if rows else None
    if whole is None or not made or times[0] is None or times[-1] is None:
        return None
    stepping = min(max(times[-1] - times[0], 0.0), whole)
    return stepping * steps / made + whole - stepping
