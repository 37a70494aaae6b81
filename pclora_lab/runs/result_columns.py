"""The numbers of a run's result, each described once.

What a task measures is described by the task (:class:`pclora_lab.tasks.TaskMetric`) and put before
the rest. Whatever shows results reads these columns: the summary in a terminal and in the lab, the
report, the model card, the list of runs, the table of a comparison. A new number is measured in
:mod:`pclora_lab.training.result` and gets one entry here.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pclora_lab.data.account import account_lines
from pclora_lab.tasks.classification import IMAGE_CLASSIFICATION
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.tasks.registry import metrics_of
from pclora_lab.training.result import LATENCY_EXAMPLES
from pclora_lab.wording import listed

__all__ = ["RESULT_COLUMNS", "ResultColumn", "columns_of", "compared_keys", "finite"]
__all__ += ["latency_examples", "result_column"]

Result = Mapping[str, Any]


@dataclass(frozen=True)
class ResultColumn:
    """One number of ``result.json`` and where it is shown.

    Attributes:
        key: in the result.
        label: how a summary calls it; empty leaves it out there.
        scale: what a person reads is ``scale`` times the stored value: 100 for a share in per cent.
        unit: behind the number.
        digits: after the decimal point.
        better: ``higher``, ``lower``, or empty where neither is.
        before: key of the same number of the dense model, if there is one.
        text: how a summary writes it, where number and unit are not enough; None leaves the line
            out.
        listed: its head in the list of runs; empty leaves it out there.
        card: its row in a model card; empty leaves it out there.
        compared: whether the rows of a comparison hold it.
        head: its head in the table of a comparison in a terminal; empty leaves it out there.
        axis: title of the axis where a task's metric is drawn over it; empty where it can't be.
    """

    key: str
    label: str = ""
    scale: float = 1
    unit: str = ""
    digits: int = 0
    better: str = ""
    before: str = ""
    text: Callable[[Result], str | None] | None = None
    listed: str = ""
    card: str = ""
    compared: bool = False
    head: str = ""
    axis: str = ""

    def value(self, result: Result) -> float | None:
        """The number as a person reads it; None where there is none that can be shown.

        Example:
            >>> result_column("accuracy").value({"accuracy": 0.5})
            50.0
        """
        number = finite(result.get(self.key))
        return None if number is None else number if self.scale == 1 else self.scale * number

    def format(self, value: float) -> str:
        """A stored value with its unit.

        Example:
            >>> result_column("accuracy").format(0.9812)
            '98.12%'
        """
        if self.unit == "%":
            return f"{value:.{self.digits}%}"
        number = f"{self.scale * value:,.{self.digits}f}"
        return f"{number} {self.unit}" if self.unit else number

    def line(self, result: Result) -> str | None:
        """What a summary writes behind the label; None leaves the line out.

        A result of a version that did not measure this number has no such line either.
        """
        # Without a teacher there are no numbers of one; all else that is null was not measured.
        there = {k: v for k, v in result.items() if v is not None or k.startswith("teacher_")}
        try:
            return self.text(there) if self.text is not None else self.format(there[self.key])
        except KeyError:
            return None


def finite(value: object) -> float | None:
    """The value if it is a number that can be shown.

    Example:
        >>> finite(3), finite("3"), finite(float("nan")), finite(True)
        (3, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if math.isfinite(value) else None


def latency_examples(result: Result) -> int | None:
    """How many examples one timed pass had; None where a result of another version can't tell.

    Example:
        >>> latency_examples({"accuracy_examples": 360}), latency_examples({"accuracy_examples": 9})
        (64, 9)
    """
    count = finite(result.get(metrics_of(result)[0].examples))
    return None if count is None else min(LATENCY_EXAMPLES, int(count))


def _of_metrics(metrics: Iterable[TaskMetric]) -> Iterator[ResultColumn]:
    """The teacher's and the student's number of every metric."""
    for metric in metrics:
        facts: dict[str, Any] = {"scale": metric.scale, "unit": metric.unit}
        facts |= {"digits": metric.digits, "better": metric.better, "compared": True}
        yield ResultColumn(
            metric.of_teacher, f"teacher, test {metric.label}", text=_of_teacher(metric), **facts
        )
        yield ResultColumn(
            metric.key, f"student, test {metric.label}", before=metric.of_teacher,
            listed=metric.label, card=f"{metric.label} ({{split}})", **facts,
        )  # fmt: skip


def _of_teacher(metric: TaskMetric) -> Callable[[Result], str]:
    def text(result: Result) -> str:
        value = result[metric.of_teacher]
        return "–" if value is None else metric.format(value)

    return text


def _classes(result: Result, most: int = 6) -> str | None:
    names = result.get("class_names")
    if not names:
        return None
    return f"{len(names)}: {listed(names, most)}"


def _by_class(result: Result, most: int = 4) -> str | None:
    """The lowest of each number that every class has, as shares in per cent."""
    parts = []
    names = result.get("class_names") or []
    for what, values in (result.get("by_class") or {}).items():
        if len(values) != len(names):
            continue  # a file that somebody has edited
        known = [(v, name) for v, name in zip(values, names, strict=True) if v is not None]
        lowest = ", ".join(f"{name} {v:.1%}" for v, name in sorted(known)[:most])
        parts.append(f"{what}: {lowest}" + (", …" if len(known) > most else ""))
    return "; ".join(parts) or None


def _rows(result: Result) -> str | None:
    """Of the rows all numbers, of files and columns those that are not used."""
    lines = account_lines(result.get("account"))
    if not lines:
        return None
    return " · ".join(
        [lines[-1].removeprefix("rows: "), *(x for x in lines[:-1] if "left out" in x)]
    )


def _trained(result: Result) -> str | None:
    return f"{result['params_trained']:,} parameters" if "params_trained" in result else None


def _on_disk(result: Result) -> str | None:
    return f"{result['bytes_on_disk'] / 1e6:.2f} MB" if "bytes_on_disk" in result else None


def _memory(result: Result) -> str:
    whose = "on the GPU" if result["device"].startswith("cuda") else "(whole process)"
    return f"{result['peak_memory_mb']:,.0f} MB {whose}"


# In the order of a summary's lines and of the columns in a list of runs: of classification, and
# those that a run of any task has.
RESULT_COLUMNS = (
    *_of_metrics(IMAGE_CLASSIFICATION.metrics),
    ResultColumn("class_names", "classes", text=_classes),
    ResultColumn("account", "rows", text=_rows),
    ResultColumn(
        "params_removed_replaced", "removed, replaced layers", 100, "%", 2, "higher",
        text=lambda r: f"{r['params_removed_replaced']:.2%} of parameters", compared=True,
    ),
    ResultColumn(
        "params_after", better="lower", before="params_before", listed="parameters left",
        card="parameters", compared=True, head="parameters",
        axis="parameters of the finished model",
    ),
    ResultColumn(
        "params_removed_whole", "removed, whole model", 100, "%", 1, "higher",
        text=lambda r: f"{r['params_removed_whole']:.2%} of parameters", listed="removed",
    ),
    ResultColumn(
        "params_trained", "trained", better="lower", text=_trained, compared=True, head="trained",
    ),
    ResultColumn(
        "params_before", "parameters",
        text=lambda r: f"{r['params_before']:,} → {r['params_after']:,}", compared=True,
    ),
    ResultColumn(
        "macs_after", scale=1e-6, unit="MMACs", digits=1, better="lower", before="macs_before",
        card="MACs per example", compared=True, head="MMACs",
    ),
    ResultColumn("macs_before", compared=True),
    ResultColumn(
        "bytes_after", "size", better="lower", before="bytes_before", card="bytes of tensors",
        text=lambda r: f"{r['bytes_before'] / 1e6:.2f} → {r['bytes_after'] / 1e6:.2f} MB",
    ),
    ResultColumn("bytes_on_disk", "on disk", better="lower", text=_on_disk, compared=True),
    ResultColumn("macs_removed_whole", "MACs removed, whole model", 100, "%", 2, "higher"),
    ResultColumn(
        "max_logit_difference", "max |Δlogit| compressed", better="lower",
        text=lambda r: f"{r['max_logit_difference']:.2g}",
    ),
    ResultColumn("latency_ms_before", unit="ms", digits=1, compared=True),
    ResultColumn(
        "latency_ms_after", unit="ms", digits=2, better="lower", before="latency_ms_before",
        listed="latency", compared=True, head="ms",
        axis=f"latency of the finished model (ms, {LATENCY_EXAMPLES} examples)",
    ),
    ResultColumn(
        "seconds", "time", unit="s", digits=1, better="lower", listed="time", compared=True,
        text=lambda r: f"{r['seconds']:.1f} s on {r['device']} ({r['precision']})",
    ),
    ResultColumn("peak_memory_mb", "peak memory", better="lower", text=_memory, compared=True),
    ResultColumn("device", compared=True),
    ResultColumn("precision", compared=True),
    ResultColumn("task", compared=True),
    ResultColumn("lr", compared=True),
    ResultColumn("run_dir", "run folder", text=lambda r: r["run_dir"]),
)  # fmt: skip


def result_column(key: str) -> ResultColumn:
    """The description of one number.

    Raises:
        KeyError: there is none of that key.
    """
    return {column.key: column for column in RESULT_COLUMNS}[key]


def columns_of(metrics: Iterable[TaskMetric]) -> tuple[ResultColumn, ...]:
    """The columns of a task's results: its metrics, and what the result of any run has.

    Example:
        >>> [c.key for c in columns_of([TaskMetric("psnr", "PSNR", "dB")])][:3]
        ['teacher_psnr', 'psnr', 'class_names']
    """
    columns = [*_of_metrics(metrics)]
    for column in RESULT_COLUMNS:
        columns += [] if column.key in _CLASSIFICATION_KEYS else [column]
        columns += [_BY_CLASS] if column.key == "class_names" else []
    return tuple(columns)


# Of tasks that keep a number of every class.
_BY_CLASS = ResultColumn("by_class", "lowest classes", text=_by_class)

_CLASSIFICATION_KEYS = {column.key for column in _of_metrics(IMAGE_CLASSIFICATION.metrics)}


def compared_keys(metrics: Iterable[TaskMetric] = IMAGE_CLASSIFICATION.metrics) -> list[str]:
    """Keys of a result that the rows of a comparison hold."""
    return [column.key for column in columns_of(metrics) if column.compared]
