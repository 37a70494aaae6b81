"""What was typed on a command line, as the value that a field wants; fields validate it."""

from collections.abc import Callable
from typing import Any

from pclora_lab.fields import Option
from pclora_lab.json_files import parse_json
from pclora_lab.wording import shown

__all__ = ["parse_option"]


def parse_option(described: Option, text: str) -> Any:
    """A value typed on the command line, not yet validated.

    Example:
        >>> parse_option(Option("rank", "", ""), "8")
        8
    """
    text = text.strip()
    if described.optional and text.lower() in {"none", ""}:
        return None
    if described.parse is not None and (parsed := described.parse(text)) is not None:
        return parsed
    if described.kind == "switch" and text.lower() in {"true", "false", "1", "0"}:
        return text.lower() in {"true", "1"}
    if described.kind == "schedule" and text.startswith("["):
        return _points(text)
    if described.kind in ("rank", "whole") and text.startswith("{"):
        return _by_layer(text)
    kinds = {"number": (float,), "whole": (int, float), "rank": (int, float)}
    return _convert(text, kinds.get(described.kind, ()))


def _points(text: str) -> object:
    try:
        return parse_json(text, f"schedule {shown(text)}")
    except ValueError as error:
        raise ValueError(f"{error}. Write a list of points") from error


def _by_layer(text: str) -> tuple[tuple[str, Any], ...]:
    """Pairs, so that a name that stands there twice is seen."""
    try:
        return parse_json(text, f"rank {shown(text)}", pairs=tuple)
    except ValueError as error:
        raise ValueError(f"{error}. Write double quotes around each layer's name") from error


def _convert(text: str, kinds: tuple[Callable[[str], int | float], ...]) -> int | float | str:
    for convert in kinds:
        try:
            return convert(text)
        except ValueError:
            continue
    return text
