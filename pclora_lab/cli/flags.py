"""Command-line flags for every option of every method, made from their descriptions."""

import argparse
import dataclasses
import json
from typing import Any

from pclora_lab.fields import Option, options_of, parse_option
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.registry import METHODS, method_class
from pclora_lab.training.config import RunConfig

__all__ = ["add_method_flags", "method_from_flags"]


def add_method_flags(parser: argparse.ArgumentParser) -> None:
    """``--method`` and one flag per option; a flag says which methods know it."""
    parser.add_argument("--method", default="pclora", help=f"one of {', '.join(METHODS)}")
    for name, (described, users) in _all_options().items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            metavar=name.upper(),
            help=_help(described, users),
            **({"nargs": "?", "const": "true"} if described.kind == "switch" else {}),
        )


def _all_options() -> dict[str, tuple[Option, list[str]]]:
    found: dict[str, tuple[Option, list[str]]] = {}
    for method in METHODS.values():
        for name, described in options_of(method.Config).items():
            found.setdefault(name, (described, []))[1].append(method.name)
    return found


def _help(described: Option, users: list[str]) -> str:
    choices = f": {', '.join(described.choices)}" if described.choices else ""
    of_whom = "" if len(users) == len(METHODS) else f" [{', '.join(users)}]"
    return f"{described.help}{choices}{of_whom}".replace("%", "%%")


def method_from_flags(args: argparse.Namespace, base: MethodConfig | None = None) -> MethodConfig:
    """The config of ``--method`` with the flags that were given.

    Args:
        args: parsed.
        base: what flags that were not given are taken from, if it is of the same method.

    Raises:
        ValueError: unknown method, a flag that it does not have, a value out of range.
    """
    config = method_class(args.method).Config
    own = options_of(config)
    given = {n: v for n, v in vars(args).items() if n in _all_options()}
    foreign = sorted(set(given) - set(own))
    if foreign:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        known = ", ".join(f"--{name.replace('_', '-')}" for name in own)
        raise ValueError(f"method {args.method} has no {flags}: it has {known}")
    values = {name: _value(own[name], text) for name, text in given.items()}
    base = base if base is not None else RunConfig().method
    start = base if type(base) is config else config()
    return dataclasses.replace(start, **values)


def _value(described: Option, text: str) -> Any:
    if described.kind == "schedule" and text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"schedule {text!r} is not a JSON list of points: {error}") from error
    return parse_option(described, text)
