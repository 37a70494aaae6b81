"""A run, also a broken one, as one row of a table: plain values only, None where there is none."""

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pclora_lab.runs import result_columns
from pclora_lab.runs.reader import Run, UnreadableRun
from pclora_lab.runs.result_columns import ResultColumn, finite
from pclora_lab.tasks.base import Task
from pclora_lab.tasks.registry import TASKS, named_task, task_of

__all__ = ["group_of", "table_columns", "table_row", "tasks_of"]


def table_columns(tasks: Collection[Task] | None = None) -> list[dict[str, Any]]:
    """The columns of a list of runs, as :class:`pclora_lab.ui.widgets.table.Table` takes them.

    Args:
        tasks: of the runs: each has a column for the metric that ranks them, and where there are
            several, every run says which is its own. None takes all tasks there are.
    """
    texts = ["run", "status", *(["task"] if tasks is None or len(tasks) > 1 else [])]
    texts += ["method", "size", "schedule"]
    return [
        *({"name": _NAMES.get(label, label), "label": label, "kind": "text"} for label in texts),
        *({"name": name, "label": name, "kind": "number"} for name in ("seed", "steps")),
        *(_described(column) for column in _listed(tasks)),
        *({"name": name, "label": name, "kind": "text"} for name in ("when", "note")),
    ]


_NAMES = {"run": "name"}


def tasks_of(runs: Iterable[Run]) -> list[Task]:
    """The tasks of some runs, each once; classification, of whatever, counts as one.

    A folder without runs is one of classifiers to come.
    """
    found = (task_of(run.config) for run in runs)
    by_facts = {str(task.key_facts()): task for task in found if task is not None}
    return list(by_facts.values()) or [named_task(None)]


def _listed(tasks: Collection[Task] | None = None) -> list[ResultColumn]:
    """The metric that ranks the runs of each task, and what the result of any run has."""
    shown = TASKS.values() if tasks is None else tasks
    metrics = {task.ranking.key: task.ranking for task in shown}
    return [column for column in result_columns.columns_of(metrics.values()) if column.listed]


def _described(column: ResultColumn) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": column.key, "label": column.listed, "kind": "number"}
    facts |= {"digits": column.digits} if column.digits else {}
    return facts | ({"unit": column.unit} if column.unit else {})


def table_row(entry: Run | UnreadableRun) -> dict[str, Any]:
    """One row; what another version or a person wrote in another form stays empty."""
    row: dict[str, Any] = {column["name"]: None for column in table_columns()}
    row |= {"id": entry.folder.name, "name": entry.folder.name, "when": _when(entry)}
    if isinstance(entry, UnreadableRun):
        return {**row, "status": "unreadable", "note": entry.reason}
    config, result = entry.config, entry.result or {}
    method = config.get("method")
    method = method if isinstance(method, dict) else {}
    return {
        **row,
        "status": entry.state or entry.status,
        "task": _task(config),
        "method": _text(method.get("name")) or _text(result.get("method")),
        "size": _size(method),
        "schedule": _schedule(method.get("schedule")),
        "seed": finite(config.get("seed")),
        "steps": finite(config.get("steps")),
        **{column.key: column.value(result) for column in _listed()},
        "note": entry.error,
    }


def group_of(run: Run) -> str:
    """Model, data, task and split: only runs that share them can be compared."""
    config, task = run.config, task_of(run.config)
    words = f"{_text(config.get('model')) or '?'} on {_text(config.get('data')) or '?'}"
    # A task that is not the usual one of its data says so.
    if task is None or task.key_facts():
        words += f", {_text(config.get('task')) if task is None else task.title}"
    split = _text(config.get("report_on")) or "test"
    return words if split == "test" else f"{words} ({split})"


def _task(config: Mapping[str, Any]) -> str | None:
    task = task_of(config)
    if task is None:
        return _text(config.get("task"))
    return task.title if task.key_facts() else "classification"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _size(method: Mapping[str, Any]) -> str | None:
    """What was asked for: a budget goes before a rank."""
    budget, rank = finite(method.get("budget")), method.get("rank")
    if budget is not None:
        return f"budget {100 * budget:.4g}%"
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
