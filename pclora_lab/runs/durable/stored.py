"""What files of runs and comparisons must hold before they are believed, checked in one place.

Whoever reads a result, a row, a choice of learning rates or what a comparison compares reads it
here. A file that was cut, edited to another type, or holds a number that is none is named, with the
place in it; what a newer version added is left as it is.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pclora_lab.json_files import read_json, with_nulls
from pclora_lab.methods.base import check_lr
from pclora_lab.schema import (
    Check,
    listed,
    mapping,
    number,
    number_within,
    optional,
    record,
    text,
    whole,
)
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.tasks.registry import metrics_of
from pclora_lab.training.events import Result, Row

__all__ = ["believed_row", "read_comparison", "read_result", "read_tuning"]

# Keys as an older version called them.
_FORMER_NAMES = {"remarks": "notes", "moves": "overrides"}

_LARGEST = 2**63 - 1

_share, _amount = number_within(0, 1), number_within(0, 1e300)


def _anything(place: str, value: Any) -> None:
    """Whatever it is."""


def _rate(place: str, value: Any) -> None:
    check_lr(place, value)


_AMOUNTS = (
    "params_before", "params_after", "params_trained", "macs_before", "macs_after", "bytes_before",
    "bytes_after", "bytes_on_disk", "latency_ms_before", "latency_ms_after", "peak_memory_mb",
    "seconds", "probe_percent", "max_logit_difference", "lr",
)  # fmt: skip
_NUMBERS = ("params_removed_replaced", "params_removed_whole", "macs_removed_whole")
_TEXTS = ("method", "task", "device", "hardware", "precision", "report_on", "input", "run_dir")

# A version that did not measure a number has none, or null.
_RESULT = record(
    {},
    {
        **dict.fromkeys(_AMOUNTS, optional(_amount)),
        **dict.fromkeys(_NUMBERS, optional(number)),
        **dict.fromkeys(_TEXTS, optional(text())),
        "seed": optional(whole(0, _LARGEST)),
        "steps": optional(whole(0, _LARGEST)),
        "class_names": optional(listed(text())),
        "by_class": optional(mapping(listed(optional(number)))),
        "notes": optional(listed(text())),
        "overrides": optional(listed(listed(_anything))),
        "account": optional(mapping(_anything)),
    },
)


def _within(metric: TaskMetric) -> Check:
    is_open = metric.low == -math.inf and metric.high == math.inf
    return number if is_open else number_within(metric.low, metric.high)


def _measured(metrics: Sequence[TaskMetric]) -> Check:
    """What others are compared with: the metric that ranks, and the size."""
    return record({metrics[0].key: _within(metrics[0]), "params_after": _amount})


def _scores(metrics: Sequence[TaskMetric]) -> Check:
    checks = {
        column: optional(_within(metric))
        for metric in metrics
        for column in (metric.key, metric.if_base_removed, metric.of_teacher)
    }
    return record({}, {**checks, metrics[0].examples: optional(_amount)})


def _tuning(metric: TaskMetric) -> Check:
    score = {f"validation_{metric.key}": optional(_within(metric))}
    tried = record({"method": text(), "lr": _rate, **score, "error": optional(text())})
    return record({"lr": _rate, "tried": listed(tried)})


_COMPARISON = record({"base": mapping(_anything), "methods": mapping(mapping(_anything))})


def _checked(path: Path, check: Check) -> dict[str, Any] | None:
    values = read_json(path)
    if values is not None:
        check(path.name, values)
    elif path.exists():
        raise ValueError(f"{path.name} can't be read: it is a folder or a device, no file")
    return values


def read_result(folder: Path, *, measured: bool = False) -> Result | None:
    """The numbers of a finished run; None where there are none.

    Args:
        folder: of the run.
        measured: require what others are compared with: the metric that ranks, and the size.

    Raises:
        ValueError: the file can't be believed; names it and the place in it.
        OSError: it may not be read.
    """
    path = folder / "result.json"
    values = read_json(path)
    if values is None:
        return None
    # Earlier versions wrote NaN where a number was not measured.
    values = with_nulls(_renamed(values))
    _RESULT(path.name, values)
    metrics = metrics_of(values)
    _scores(metrics)(path.name, values)
    if measured:
        _measured(metrics)(path.name, values)
    return values


def read_tuning(path: Path, method: str, metric: TaskMetric) -> dict[str, Any] | None:
    """The learning rate that was chosen for a method, and what was tried; None without a file.

    Args:
        path: of the file.
        method: its name.
        metric: that the trials are ranked by.

    Raises:
        ValueError: the file can't be believed, or its choice is none of what was tried.
        OSError: it may not be read.
    """
    values = _checked(path, _tuning(metric))
    if values is None:
        return None
    good = [t["lr"] for t in values["tried"] if t["method"] == method and not t["error"]]
    if values["lr"] not in good:
        raise ValueError(f"{path.name}: lr is {values['lr']}, which was not tried for {method}")
    return values


def read_comparison(folder: Path) -> dict[str, Any] | None:
    """What a comparison compares; None where nothing says so.

    Raises:
        ValueError: the file can't be believed.
        OSError: it may not be read.
    """
    return _checked(folder / "comparison.json", _COMPARISON)


def believed_row(values: object) -> Row | None:
    """A row of a history as far as it can be believed; None where it is none.

    A number that is NaN or infinite was not measured, and numbers by layer are numbers.

    Example:
        >>> believed_row({"phase": "fade", "step": 3, "loss": float("nan")})
        {'phase': 'fade', 'step': 3, 'loss': None}
        >>> believed_row({"phase": "fade", "step": "three"}) is None
        True
    """
    if not isinstance(values, dict) or not isinstance(values.get("phase", ""), str):
        return None
    if not all(_is_count(values.get(name, 0)) for name in ("step", "steps")):
        return None
    return {
        name: with_nulls(value)
        for name, value in _renamed(values).items()
        if not name.startswith("layer_") or _is_by_layer(value)
    }


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_FORMER_NAMES.get(name, name): value for name, value in values.items()}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _is_by_layer(value: object) -> bool:
    if not isinstance(value, dict):
        return value is None
    kinds = {type(number) for number in value.values()}
    return kinds <= {int, float, type(None)}
