"""What a run's status says, and whether the process behind it lives: here, elsewhere, or no more.

While a run goes on its ``status.json`` is touched every few seconds. That is the only sign of life
that can be seen from another container or another node.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pclora_lab.json_files import read_json
from pclora_lab.machine import is_on_this_machine, is_process_alive, this_host

__all__ = ["SILENT_AFTER", "STATUSES", "Signs", "read_signs"]

STATUSES = ("running", "finished", "stopped", "failed")

# Seconds without a beat, after which a process that can't be seen counts as gone. Clocks of two
# machines may differ, and a network file system shows a beat late.
SILENT_AFTER = 120.0

_KILLED = "the process ended without a word (killed?)"


@dataclass(frozen=True)
class Signs:
    """What is known about how a run is doing.

    Attributes:
        status: running, finished, stopped or failed.
        error: message of a failed run.
        state: the status as a person reads it, such as ``running on node3 (last beat 12 s ago)``,
            ``no sign of life for 3 h`` or ``killed``.
    """

    status: str
    error: str | None
    state: str


def read_signs(folder: Path, *, has_result: bool) -> Signs:
    """Read ``status.json``.

    Args:
        folder: of the run.
        has_result: whether its result stands; it has finished then, whatever ended its process.

    Raises:
        ValueError: the file holds no status.
    """
    values = read_json(folder / "status.json") or {"status": "failed", "error": "no status"}
    status, error = values.get("status"), values.get("error")
    if status not in STATUSES:
        raise ValueError(
            f"status.json says {status!r}: a status is one of {', '.join(STATUSES)}; correct it "
            "by hand, or delete the folder"
        )
    if status == "running":
        signs = _signs_of_life(values, _beat(folder))
        return Signs("finished", None, "finished") if has_result and _is_over(signs) else signs
    if has_result:
        return Signs("finished", None, "finished")
    return Signs(status, None if error is None else str(error), status)


def _is_over(signs: Signs) -> bool:
    return signs.status != "running"


def _beat(folder: Path) -> float:
    try:
        return (folder / "status.json").stat().st_mtime
    except OSError:
        return 0.0


def _signs_of_life(values: Mapping[str, Any], beat: float) -> Signs:
    if is_on_this_machine(values):
        alive = is_process_alive(values)
        return Signs("running", None, "running") if alive else Signs("failed", _KILLED, "killed")
    host, silence = values.get("host"), max(0.0, time.time() - beat)
    if silence < SILENT_AFTER:
        return Signs("running", None, f"running on {host} (last beat {duration(silence)} ago)")
    if host == this_host() and beat < psutil.boot_time():
        return Signs("failed", f"{_KILLED}; {host} was restarted since", "killed")
    quiet = f"no sign of life for {duration(silence)}"
    return Signs("failed", f"{quiet}: it ran on {host}, which may be gone or cut off", quiet)


def duration(seconds: float) -> str:
    """In the largest unit that fits.

    Example:
        >>> duration(12.3), duration(125), duration(3 * 3600), duration(9 * 86400)
        ('12 s', '2 min', '3 h', '9 days')
    """
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or (unit != "days" and seconds >= size):
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
