"""A configuration as the script that runs it, with only what differs from the defaults."""

import dataclasses
from importlib import import_module
from typing import Any

from pclora_lab.json_files import to_json
from pclora_lab.methods.base import MethodConfig
from pclora_lab.tasks.registry import named_task
from pclora_lab.training.config import RunConfig

__all__ = ["as_python"]

_WIDEST = 88


def as_python(config: RunConfig, root: str = "runs") -> str:
    """The script that trains the same run: its folder, its seed, its numbers.

    Args:
        config: of the run.
        root: folder of runs.

    Example:
        >>> print(as_python(RunConfig(steps=50)))
        from pclora_lab import RunConfig
        from pclora_lab.runs import execute
        <BLANKLINE>
        config = RunConfig(steps=50)
        *_, end = execute(config, root="runs")
        print(end.result["accuracy"])
        <BLANKLINE>
    """
    settings = _changed(config, dataclasses.asdict(config))
    if config.lr == config.method.default_lr:  # filled in where none is given
        settings.pop("lr", None)
    classes: list[type] = [type(config)]
    if "method" in settings:
        classes.append(type(config.method))
        settings["method"] = _method_call(config.method)
    call = _call(f"config = {type(config).__name__}", settings)
    return "\n".join(
        [
            *_imports(classes),
            "",
            call,
            f"*_, end = execute(config, root={_literal(root)})",
            f"print(end.result[{_literal(named_task(config.task).ranking.key)}])",
            "",
        ]
    )


class _Code(str):
    """A text that is written as it stands."""


def _changed(config: object, plain: dict[str, Any]) -> dict[str, Any]:
    """The values that are not at their default, as plain types."""
    default = type(config)()
    return {
        field.name: plain[field.name]
        for field in dataclasses.fields(config)  # type: ignore[arg-type]
        if getattr(config, field.name) != getattr(default, field.name)
    }


def _method_call(method: MethodConfig) -> _Code:
    return _Code(_call(type(method).__name__, _changed(method, method.to_dict()), inner=True))


def _call(head: str, settings: dict[str, Any], *, inner: bool = False) -> str:
    """``head(name=value, …)``, on one line if it fits, or a line for each value."""
    values = [f"{name}={_literal(value)}" for name, value in settings.items()]
    line = f"{head}({', '.join(values)})"
    if len(line) <= (_WIDEST - len("    method=,") if inner else _WIDEST):
        return line
    indent = "    " * (2 if inner else 1)
    return f"{head}(\n" + "".join(f"{indent}{value},\n" for value in values) + f"{indent[4:]})"


def _literal(value: object) -> str:
    """A plain value as Python reads it, texts in double quotes."""
    if isinstance(value, _Code):
        return value
    if isinstance(value, str):
        return to_json(value, ensure_ascii=False)
    if isinstance(value, dict):
        inside = ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items())
        return f"{{{inside}}}"
    if isinstance(value, (tuple, list)):
        inside = ", ".join(map(_literal, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return repr(value)


def _imports(classes: list[type]) -> list[str]:
    """From the shortest public place that has them."""
    found: dict[str, list[str]] = {"pclora_lab.runs": ["execute"]}
    for cls in classes:
        found.setdefault(_face(cls), []).append(cls.__name__)
    return [f"from {place} import {', '.join(sorted(found[place]))}" for place in sorted(found)]


def _face(cls: type) -> str:
    for place in ("pclora_lab", "pclora_lab.methods"):
        if getattr(import_module(place), cls.__name__, None) is cls:
            return place
    return cls.__module__
