"""What a task measures: each metric describes itself once, and a scorer adds it up over batches.

History, result, table, plots and forecasts read these descriptions; none of them knows a task.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

from torch import Tensor

from pclora_lab.schema import number, record, switch, text

__all__ = ["Scorer", "TaskMetric", "Verdict"]

_BETTER = ("higher", "lower")


@dataclass(frozen=True)
class TaskMetric:
    """A number that says how well a model does its task.

    Attributes:
        key: column of the history and of the result, such as ``accuracy``. Beside it stand
            ``teacher_<key>`` and ``<key>_if_base_removed``.
        label: how a person calls it.
        unit: behind the number.
        scale: what a person reads is ``scale`` times the value: 100 for a share in per cent.
        digits: after the decimal point.
        better: ``higher`` or ``lower``.
        low: smallest value that it can have.
        high: largest value that it can have.
        axis: title of its axis; empty takes label and unit.
        counts_right: whether it is the share of the examples that are right, so that it tells how
            many are wrong.

    Raises:
        ValueError: a key that is no name of a column, no label, or another ``better``.

    Example:
        >>> psnr = TaskMetric("psnr", "PSNR", "dB", digits=1)
        >>> psnr.of_teacher, psnr.format(28.347), psnr.is_better(30.1, 28.3)
        ('teacher_psnr', '28.3 dB', True)
    """

    key: str
    label: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 2
    better: str = "higher"
    low: float = -math.inf
    high: float = math.inf
    axis: str = ""
    counts_right: bool = False

    def __post_init__(self) -> None:
        """Validate, so that a wrong description is seen where it stands and not in a table."""
        if not isinstance(self.key, str) or not self.key.isidentifier():
            raise ValueError(f"metric key {self.key!r} is no name of a column: use letters and _")
        if not self.label:
            raise ValueError(f"metric {self.key} has no label: say how a person calls it")
        if self.better not in _BETTER:
            raise ValueError(
                f"better of {self.key} is {self.better!r}: use one of {', '.join(_BETTER)}"
            )

    @property
    def of_teacher(self) -> str:
        """Column of the same number of the dense model."""
        return f"teacher_{self.key}"

    @property
    def if_base_removed(self) -> str:
        """Column of the same number, were the base removed now."""
        return f"{self.key}_if_base_removed"

    @property
    def examples(self) -> str:
        """Key of how many examples the final number was read on."""
        return f"{self.key}_examples"

    @property
    def title(self) -> str:
        """Of an axis: the label with its unit."""
        return self.axis or (f"{self.label} ({self.unit})" if self.unit else self.label)

    @property
    def heading(self) -> str:
        """The label where a line begins with it.

        Example:
            >>> TaskMetric("rmse", "error").heading, TaskMetric("miou", "mIoU").heading
            ('Error', 'mIoU')
        """
        is_name = self.label[1:2].isupper()
        return self.label if is_name else f"{self.label[:1].upper()}{self.label[1:]}"

    def format(self, value: float) -> str:
        """A value as a person reads it, with its unit.

        Example:
            >>> TaskMetric("accuracy", "accuracy", "%", 100).format(0.9812)
            '98.12%'
        """
        return self._with_unit(f"{self.scale * value:,.{self.digits}f}")

    def roughly(self, value: float, spread: float | None = None) -> str:
        """The same with a digit less, and the spread that it has over seeds.

        Example:
            >>> metric = TaskMetric("accuracy", "accuracy", "%", 100)
            >>> metric.roughly(0.9812), metric.roughly(0.9812, 0.0031)
            ('98.1%', '98.1 ± 0.3%')
        """
        said = self.number(value)
        return self._with_unit(said if spread is None else f"{said} ± {self.number(spread)}")

    def number(self, value: float) -> str:
        """The same without its unit."""
        return f"{self.scale * value:,.{max(0, self.digits - 1)}f}"

    def change(self, before: float, after: float) -> str:
        """By how much a value has risen, with its sign, as the rough values differ.

        Example:
            >>> TaskMetric("accuracy", "accuracy", "%", 100).change(0.9806, 0.9694)
            '-1.2'
        """
        digits = max(0, self.digits - 1)
        now, then = (round(self.scale * value, digits) for value in (after, before))
        return f"{now - then + 0.0:+,.{digits}f}"

    def _with_unit(self, number: str) -> str:
        return f"{number}{'' if self.unit in ('', '%') else ' '}{self.unit}"

    def rank(self, value: float) -> float:
        """The value so that more is better, to sort or to take the largest of.

        Example:
            >>> max((0.3, 0.1), key=TaskMetric("mse", "MSE", better="lower").rank)
            0.1
        """
        return value if self.better == "higher" else -value

    def is_better(self, value: float, than: float) -> bool:
        """Whether one value is better than another."""
        return self.rank(value) > self.rank(than)

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON, without what has its default."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {f.name: f.default for f in fields(self)}
        return {name: value for name, value in values.items() if value != plain[name]}

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """The inverse of :meth:`to_dict`; what a newer version added is left out.

        Raises:
            ValueError: it is no description of a metric; names the place.
        """
        _DESCRIPTION("metric", values)
        assert isinstance(values, Mapping)
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})


_DESCRIPTION = record(
    {"key": text(), "label": text()},
    {
        **dict.fromkeys(("unit", "better", "axis"), text()),
        "counts_right": switch,
        **dict.fromkeys(("scale", "digits", "low", "high"), number),
    },
)


@dataclass(frozen=True)
class Verdict:
    """What a model says about one example.

    Attributes:
        text: in a few words, such as the name of a class.
        is_right: whether that is so; None where an answer is neither right nor wrong.
        sure: how sure the model is, in [0, 1]; None where it does not say.
    """

    text: str
    is_right: bool | None = None
    sure: float | None = None


class Scorer(Protocol):
    """Adds up a task's metrics over batches; torchmetrics' ``MetricCollection`` is one."""

    def update(self, outputs: Tensor, targets: Any) -> None:
        """Take in a batch.

        Args:
            outputs: of the model.
            targets: as :meth:`pclora_lab.data.batches.Batches.batch` gives them.
        """

    def compute(self) -> Mapping[str, Any]:
        """The metrics of all batches so far, by key."""
