"""A run, also a broken one, as one row of a table: plain values only, None where there is none."""

import time
from collections.abc import Mapping
from typing import Any

from pclora_lab.plots.overlay import finite
from pclora_lab.runs.reader import Run, UnreadableRun

__all__ = ["COLUMNS", "group_of", "table_row"]


def _column(name: str, label: str, kind: str = "number", **more: Any) -> dict[str, Any]:
    return {"name": name, "label": label, "kind": kind, **more}


COLUMNS = [
    _column("name", "run", "text"),
    _column("status", "status", "text"),
    _column("method", "method", "text"),
    _column("size", "size", "text"),
    _column("schedule", "schedule", "text"),
    _column("seed", "seed"),
    _column("steps", "steps"),
    _column("accuracy", "accuracy", digits=2, unit="%"),
    _column("params", "parameters left"),
    _column("removed", "removed", digits=1, unit="%"),
    _column("latency", "latency", digits=2, unit="ms"),
    _column("seconds", "time", digits=1, unit="s"),
    _column("when", "when", "text"),
    _column("note", "note", "text"),
]


def table_row(entry: Run | UnreadableRun) -> dict[str, Any]:
    """One row; what another version or a person wrote in another form stays empty."""
    row: dict[str, Any] = {column["name"]: None for column in COLUMNS}
    row |= {"id": entry.folder.name, "name": entry.folder.name, "when": _when(entry)}
    if isinstance(entry, UnreadableRun):
        return {**row, "status": "unreadable", "note": entry.reason}
    config, result = entry.config, entry.result or {}
    method = config.get("method") if isinstance(config.get("method"), dict) else {}
    return {
        **row,
        "status": entry.status,
        "method": _text(method.get("name")) or _text(result.get("method")),
        "size": _size(method),
        "schedule": _schedule(method.get("schedule")),
        "seed": finite(config.get("seed")),
        "steps": finite(config.get("steps")),
        "accuracy": _percent(result.get("accuracy")),
        "params": finite(result.get("params_after")),
        "removed": _percent(result.get("params_removed_whole")),
        "latency": finite(result.get("latency_ms_after")),
        "seconds": finite(result.get("seconds")),
        "note": entry.error,
    }


def group_of(run: Run) -> str:
    """Model, data and split: only runs that share them can be compared by accuracy."""
    config = run.config
    words = f"{_text(config.get('model')) or '?'} on {_text(config.get('data')) or '?'}"
    split = _text(config.get("report_on")) or "test"
    return words if split == "test" else f"{words} ({split})"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _percent(value: object) -> float | None:
    number = finite(value)
    return None if number is None else 100 * number


def _size(method: Mapping[str, Any]) -> str | None:
    """What was asked for: a budget goes before a rank."""
    budget, rank = finite(method.get("budget")), method.get("rank")
    if budget is not None:
        return f"budget {100 * budget:.4g} %"
    if _text(rank) or finite(rank) is not None:
        return f"rank {rank}"
    return None


def _schedule(schedule: object) -> str | None:
    return "drawn" if isinstance(schedule, list) else _text(schedule)


def _when(entry: Run | UnreadableRun) -> str | None:
    for path in (entry.folder / "status.json", entry.folder):
        try:
            return time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
        except (OSError, ValueError, OverflowError):
            continue
    return None
