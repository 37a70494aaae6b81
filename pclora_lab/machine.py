"""Which process of which machine this is, so that another one can tell whether it still lives.

And what the machine computes with. A process number alone means nothing in another container or on
another node.
"""

import contextlib
import os
import platform
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

__all__ = [
    "describe_process",
    "is_on_this_machine",
    "is_process_alive",
    "processor",
    "this_host",
    "this_process",
    "usable_cores",
]

_CLOCK_SLACK_SECONDS = 60.0


def this_process() -> dict[str, Any]:
    """Host, boot, number and start of this process, ready for JSON.

    Example:
        >>> sorted(this_process())
        ['boot', 'host', 'pid', 'started']
        >>> is_process_alive(this_process())
        True
    """
    pid = os.getpid()
    return {"host": this_host(), "boot": _boot(), "pid": pid, "started": _started(pid)}


def this_host() -> str:
    """The name of this machine; two may have the same."""
    return socket.gethostname()


def is_on_this_machine(facts: Mapping[str, Any]) -> bool:
    """Whether the process can be seen from here: the same boot, and the same container.

    Facts of an older version, which name no machine, are taken for this one's.
    """
    return "boot" not in facts or facts["boot"] == _boot()


def is_process_alive(facts: Mapping[str, Any]) -> bool:
    """Whether a process of this machine still runs.

    Args:
        facts: from :func:`this_process`; or ``pid`` and ``time``, when it was alive.
    """
    pid, written = facts.get("pid"), facts.get("time")
    if isinstance(pid, bool) or not isinstance(pid, int) or not 0 < pid < 2**31:
        return False
    try:
        began = psutil.Process(pid).create_time()
        if "started" in facts:
            return facts["started"] == _started(pid)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    # After a restart another process may have got the number.
    return not isinstance(written, (int, float)) or began <= written + _CLOCK_SLACK_SECONDS


def processor() -> str:
    """The CPU as its maker calls it, and how many of its cores this process may use.

    Example:
        >>> processor().endswith((" core", " cores"))
        True
    """
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux only, and not on every architecture
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8", errors="replace").splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(names, "") or name
    cores = usable_cores()
    return f"{name or 'CPU'}, {cores} core{'s' if cores > 1 else ''}"


def usable_cores() -> int:
    """CPU cores that this process may use: in a cluster's job fewer than the machine has.

    Example:
        >>> 1 <= usable_cores() <= os.cpu_count()
        True
    """
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def describe_process(facts: Mapping[str, Any]) -> str:
    """As a person reads it.

    Example:
        >>> describe_process({"pid": 12, "host": "node3"}), describe_process({})
        ('process 12 on node3', 'another process')
    """
    if not isinstance(facts.get("pid"), int):
        return "another process"
    host = facts.get("host")
    return f"process {facts['pid']}" + (f" on {host}" if isinstance(host, str) else "")


def _boot() -> str:
    """Other at every start of the machine, and in every container."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return "/".join(parts) or f"{psutil.boot_time():.0f}"


def _started(pid: int) -> float:
    """When a process began: in ticks since the boot, which no correction of a clock changes."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf8", errors="replace")
        return int(fields.rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return psutil.Process(pid).create_time()
