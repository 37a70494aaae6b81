"""The model card: what it is, from which data, by which recipe, how large and how good."""

from collections.abc import Mapping, Sequence
from typing import Any

from pclora_lab.data.account import account_lines
from pclora_lab.data.splits import short_name
from pclora_lab.export.report import ExportReport
from pclora_lab.fields import Part, values_of
from pclora_lab.methods.registry import method_class
from pclora_lab.runs import result_columns
from pclora_lab.schema import number, record, text
from pclora_lab.tasks.registry import metrics_of, task_of
from pclora_lab.training.config import RunConfig

__all__ = ["model_card"]

_HEAD = """---
library_name: pclora-lab
{tag}tags:
- model-compression
- low-rank
- {method}
---
"""


_NEEDED = record(
    {"method": text(), "params_removed_replaced": number, "params_removed_whole": number}
)


def model_card(
    result: Mapping[str, Any], config: RunConfig, exports: Sequence[ExportReport] = ()
) -> str:
    """Markdown from a finished run; every number in it is the run's.

    Args:
        result: the run's ``result.json``.
        config: the run's configuration.
        exports: what was written beside the card.

    Raises:
        ValueError: the result lacks what a card says.
    """
    _NEEDED("result.json", result)
    title = method_class(result["method"]).title
    head = _HEAD.format(
        tag=_pipeline_tag(result),
        method=result["method"].replace("_", "-"),
    )
    parts = [
        f"# {_short_name(config.model)}, compressed by {title}",
        _what(result, config, title),
        f"## Sizes and {metrics_of(result)[0].label}",
        _table(result, config),
        "## Data",
        _data(result, config),
        "## Recipe",
        _recipe(config),
    ]
    if exports:
        parts += ["## Exports", "\n".join(f"* {report}" for report in exports)]
    parts += [
        "## License",
        "The license of the pre-trained weights and of the data applies; look it up before you "
        "share the model.",
    ]
    return head + "\n" + "\n\n".join(parts) + "\n"


def _pipeline_tag(result: Mapping[str, Any]) -> str:
    """The hub's name for the task, a line of its own."""
    task = task_of(result)
    return f"pipeline_tag: {task.pipeline_tag}\n" if task and task.pipeline_tag else ""


def _short_name(name: str) -> str:
    return _one_line(short_name(name))


def _one_line(text: str) -> str:
    # A name from a form may hold anything; in a card it is a word, not markup.
    return "".join(c if c.isprintable() and c not in "<>`|[]" else " " for c in text).strip()


def _what(result: Mapping[str, Any], config: RunConfig, title: str) -> str:
    return (
        f"{title} on `{_short_name(config.data)}`. "
        f"{result['params_removed_replaced']:.1%} of the replaced layers' parameters are removed, "
        f"{result['params_removed_whole']:.1%} of the whole model's. Made with pclora_lab "
        "(PC-LoRA: arXiv:2406.09117)."
    )


def _table(result: Mapping[str, Any], config: RunConfig) -> str:
    """Sizes first, then what is the better the higher."""
    columns = result_columns.columns_of(metrics_of(result))
    shown = [column for column in columns if column.card]
    lines = ["| | dense | this model |", "|---|---|---|"]
    for column in sorted(shown, key=lambda column: column.better == "higher"):
        keys = (column.before, column.key)
        cells = [column.card.format(split=config.report_on)]
        cells += [_cell(result, key, column) for key in keys]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(result: Mapping[str, Any], key: str, column: result_columns.ResultColumn) -> str:
    """A stored value: a count in full, anything else as its column is read."""
    value = result.get(key)
    if value is None:
        return "not measured"
    return f"{value:,}" if isinstance(value, int) else column.format(value)


def _data(result: Mapping[str, Any], config: RunConfig) -> str:
    names = ", ".join(_one_line(name) for name in result.get("class_names") or ())
    said = [*account_lines(result.get("account")), *(result.get("notes") or ())]
    notes = "".join(f"\n* {_one_line(note)}" for note in said)
    classes = f"; classes: {names}" if names else ""
    return f"`{_short_name(config.data)}`{classes}.{notes}"


def _recipe(config: RunConfig) -> str:
    method = {k: v for k, v in config.method.to_dict().items() if k != "name"}
    settings = [*values_of(config, Part.RECIPE).items(), *method.items()]
    lines = [f"* {name}: {value}" for name, value in settings]
    return "\n".join(_one_line(line) for line in lines)
