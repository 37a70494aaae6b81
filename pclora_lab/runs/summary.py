"""The final numbers of a run as lines of text."""

from collections.abc import Mapping
from typing import Any

from pclora_lab.runs import result_columns
from pclora_lab.tasks.registry import metrics_of

__all__ = ["result_lines", "result_table"]


def result_lines(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and value of each number a person wants to see, with units, as far as measured."""
    columns = result_columns.columns_of(metrics_of(result))
    named = (column for column in columns if column.label)
    lines = [(column.label, column.line(result)) for column in named]
    kept = [(label, text) for label, text in lines if text is not None]
    kept += [("note", note) for note in result.get("notes") or ()]
    return kept + ([("report", result["report"])] if "report" in result else [])


def result_table(result: Mapping[str, Any]) -> str:
    """The lines as aligned text."""
    return "\n".join(f"{label:28} {value}" for label, value in result_lines(result))
