"""What a report rests on: a run folder, read once, with short names in place of paths."""

import contextlib
import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pclora_lab.data.splits import short_name
from pclora_lab.json_files import read_json
from pclora_lab.methods.registry import METHODS
from pclora_lab.plots.method_styles import method_style
from pclora_lab.runs.durable.places import without_places
from pclora_lab.runs.reader import Run
from pclora_lab.runs.result_columns import finite, latency_examples
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.tasks.registry import metrics_of
from pclora_lab.wording import brief

__all__ = ["Facts", "options_in", "read_facts"]

_LONGEST_NAME = 48


@dataclass(frozen=True)
class Facts:
    """A run as its report needs it.

    Attributes:
        run: as it was read.
        model: a short name of the dense model.
        data: a short name of the data.
        method: the method's title.
        summary: what the method does, a sentence; empty of another package's.
        versions: of Python and packages, as far as they were written down.
        ended: seconds since 1970, or None.
        is_text: whether it reads texts; None where nothing says so.
    """

    run: Run
    model: str
    data: str
    method: str
    summary: str
    versions: Mapping[str, str]
    ended: float | None
    is_text: bool | None

    @property
    def options(self) -> Mapping[str, Any]:
        """Of the method, as they were written."""
        return options_in(self.run.config)

    @property
    def result(self) -> Mapping[str, Any]:
        """The final numbers; empty for a run without."""
        return self.run.result or {}

    def number(self, key: str) -> float | None:
        """One of the final numbers, if it was measured."""
        return finite(self.result.get(key))

    @property
    def metric(self) -> TaskMetric:
        """What the run is judged by."""
        return metrics_of(self.run.result or self.run.config)[0]

    @property
    def scores(self) -> tuple[float | None, float | None]:
        """The finished model's and its teacher's, as far as they were measured."""
        return self.number(self.metric.key), self.number(self.metric.of_teacher)

    def score_text(self, value: float) -> str:
        """A value of the metric, as HTML."""
        return html.escape(self.metric.roughly(value))

    @property
    def examples(self) -> str:
        """What the model reads, such as ``images``."""
        return "examples" if self.is_text is None else "texts" if self.is_text else "images"

    @property
    def has_output(self) -> bool:
        """Whether the finished model is one of transformers, which says so in its config."""
        return "architectures" in _read(self.run.folder / "compressed" / "config.json")

    @property
    def latency_batch(self) -> int | None:
        """How many examples the latency is of; None where that was not written down."""
        return latency_examples(self.result)

    def public(self, text: str) -> str:
        """The text without places on this machine."""
        named = (str(self.run.config.get(name, "")) for name in ("model", "data"))
        return without_places(text, *named, self.run.folder)


def read_facts(run: Run) -> Facts:
    """Read what stands beside config, history and result.

    Raises:
        OSError: a file may not be read.
    """
    name = str(options_in(run.config).get("name", "pclora"))
    # A run of another package's method is read without that package, too.
    known = METHODS.get(name)
    return Facts(
        run=run,
        model=_short(run.config.get("model", "")),
        data=_short(run.config.get("data", "")),
        method=method_style(name).title,
        summary=known.summary if known else "",
        versions={k: str(v) for k, v in _read(run.folder / "versions.json").items()},
        ended=finite(_read(run.folder / "status.json").get("time")),
        is_text={"text": True, "image": False}.get(str((run.result or {}).get("input"))),
    )


def options_in(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The method's part of a config; nothing where something else stands there.

    Example:
        >>> options_in({"method": {"rank": 8}}), options_in({"method": 3})
        ({'rank': 8}, {})
    """
    method = config.get("method")
    return method if isinstance(method, Mapping) else {}


def _short(name: object) -> str:
    return brief(short_name(str(name)), _LONGEST_NAME)


def _read(path: Path) -> dict[str, Any]:
    """What stands in a file that the report can do without."""
    with contextlib.suppress(ValueError):
        return read_json(path) or {}
    return {}
