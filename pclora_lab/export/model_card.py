"""The model card: what it is, from which data, by which recipe, how large and how good."""

from collections.abc import Mapping, Sequence
from typing import Any

from pclora_lab.data.splits import short_name
from pclora_lab.export.report import ExportReport
from pclora_lab.fields import Part, values_of
from pclora_lab.methods.registry import method_class
from pclora_lab.training.config import RunConfig

__all__ = ["model_card"]

_HEAD = """---
library_name: pclora-lab
pipeline_tag: {task}
tags:
- model-compression
- low-rank
- {method}
---
"""


def model_card(
    result: Mapping[str, Any], config: RunConfig, exports: Sequence[ExportReport] = ()
) -> str:
    """Markdown from a finished run; every number in it is the run's.

    Args:
        result: the run's ``result.json``.
        config: the run's configuration.
        exports: what was written beside the card.
    """
    title = method_class(result["method"]).title
    is_text = result.get("input") == "text"
    head = _HEAD.format(
        task="text-classification" if is_text else "image-classification",
        method=result["method"].replace("_", "-"),
    )
    parts = [
        f"# {_place(config.model)}, compressed by {title}",
        _what(result, config, title),
        "## Sizes and accuracy",
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


def _place(name: str) -> str:
    return _one_line(short_name(name))


def _one_line(text: str) -> str:
    # A name from a form may hold anything; in a card it is a word, not markup.
    return "".join(c if c.isprintable() and c not in "<>`|[]" else " " for c in text).strip()


def _what(result: Mapping[str, Any], config: RunConfig, title: str) -> str:
    return (
        f"{title} on `{_place(config.data)}`. "
        f"{result['params_removed_replaced']:.1%} of the replaced layers' parameters are removed, "
        f"{result['params_removed_whole']:.1%} of the whole model's. Made with pclora_lab "
        "(PC-LoRA: arXiv:2406.09117)."
    )


def _table(result: Mapping[str, Any], config: RunConfig) -> str:
    teacher = result.get("teacher_accuracy")
    rows = [
        ("parameters", f"{result['params_before']:,}", f"{result['params_after']:,}"),
        ("MACs per example", f"{result['macs_before']:,}", f"{result['macs_after']:,}"),
        ("bytes of tensors", f"{result['bytes_before']:,}", f"{result['bytes_after']:,}"),
        (
            f"accuracy ({config.report_on})",
            "not measured" if teacher is None else f"{teacher:.2%}",
            f"{result['accuracy']:.2%}",
        ),
    ]
    lines = ["| | dense | this model |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _data(result: Mapping[str, Any], config: RunConfig) -> str:
    names = ", ".join(_one_line(name) for name in result.get("class_names") or ())
    notes = "".join(f"\n* {_one_line(note)}" for note in result.get("notes") or ())
    return f"`{_place(config.data)}`; classes: {names}.{notes}"


def _recipe(config: RunConfig) -> str:
    method = {k: v for k, v in config.method.to_dict().items() if k != "name"}
    settings = [*values_of(config, Part.RECIPE).items(), *method.items()]
    lines = [f"* {name}: {value}" for name, value in settings]
    return "\n".join(_one_line(line) for line in lines)
