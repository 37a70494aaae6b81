"""Command-line flags for the settings of a run and of every method, made from descriptions."""

import argparse
import dataclasses
from collections.abc import Collection

from pclora_lab.cli.parsing import parse_option
from pclora_lab.fields import Option, options_of
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.pclora.schedules import SCHEDULES
from pclora_lab.methods.registry import METHODS, method_class
from pclora_lab.training.config import RunConfig

__all__ = [
    "add_method_flags",
    "add_run_flags",
    "method_from_flags",
    "run_from_flags",
]

# Other flags of the commands that take a method's options.
_COMMANDS_OWN = ("config", "help", "json", "num_classes", "out", "task")

# Where argparse keeps what was given; nothing else may be kept under such a name.
_RUN, _METHOD = "run.", "method."


def add_run_flags(
    parser: argparse.ArgumentParser,
    base: RunConfig,
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
) -> None:
    """One flag per setting of a run, but for its method; see :func:`add_method_flags`.

    Args:
        parser: to add to.
        base: what a flag that is not given leaves as it is.
        only: these settings.
        without: not these.
    """
    plain = type(base)()
    for name, described in _run_options(base).items():
        if name not in without and (only is None or name in only):
            default = getattr(base, name)
            # What a config fills in by itself is no default of its own.
            is_filled_in = getattr(type(base), name) is None and default == getattr(plain, name)
            is_none = is_filled_in or default in (None, ())
            ending = "" if is_none else f" (default: {default})"
            _add_flag(parser, described.flag or name, _RUN + name, described, ending)


def _run_options(config: RunConfig) -> dict[str, Option]:
    return {n: o for n, o in options_of(config).items() if o.kind != "method"}


def _add_flag(
    parser: argparse.ArgumentParser, name: str, kept_as: str, described: Option, ending: str
) -> None:
    # Other packages add schedules, so the field can't list them.
    names = SCHEDULES if described.kind == "schedule" else described.choices
    choices = f": {', '.join(names)}" if names else ""
    is_switch = described.kind == "switch"
    parser.add_argument(
        _flag(name),
        dest=kept_as,
        default=argparse.SUPPRESS,
        metavar="true|false" if is_switch else name.upper(),
        help=f"{described.help}{choices}{ending}".replace("%", "%%"),
        nargs="?" if is_switch else None,
        const="true" if is_switch else None,
    )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _given(args: argparse.Namespace, kept_as: str) -> dict[str, str]:
    return {n.removeprefix(kept_as): v for n, v in vars(args).items() if n.startswith(kept_as)}


def run_from_flags(args: argparse.Namespace, base: RunConfig) -> RunConfig:
    """A base configuration, overridden by the flags that were given.

    Another method than the base's starts from its own defaults: its options, its learning rate,
    and no λ set by hand.

    Args:
        args: parsed; without ``--method`` the base's method is taken.
        base: what flags that were not given are taken from.

    Raises:
        ValueError: a value out of its range, or a flag that the method does not have.
    """
    options = _run_options(base)
    given = {n: parse_option(options[n], text) for n, text in _given(args, _RUN).items()}
    method = method_from_flags(args, base.method)
    if type(method) is not type(base.method):
        given = {"lr": None, "overrides": (), **given}
    return dataclasses.replace(base, method=method, **given)


def add_method_flags(parser: argparse.ArgumentParser) -> None:
    """``--method`` and one flag per option; a flag says which methods know it.

    An option whose name another flag has is given as ``--METHOD-OPTION``.
    """
    names = ", ".join(METHODS)
    help_text = f"one of {names} (default: {RunConfig().method.name})"
    parser.add_argument("--method", default=None, help=help_text)
    for name, (described, users) in _method_flags().items():
        ending = "" if len(users) == len(METHODS) else f" [{', '.join(users)}]"
        _add_flag(parser, name, _METHOD + name, described, ending)


def _method_flags() -> dict[str, tuple[Option, list[str]]]:
    found: dict[str, tuple[Option, list[str]]] = {}
    for method in METHODS.values():
        for flag, name in _flags_of(method.Config).items():
            described = options_of(method.Config)[name]
            found.setdefault(flag, (described, []))[1].append(method.name)
    return found


def _flags_of(config: type[MethodConfig]) -> dict[str, str]:
    """The options of a method by their flags."""
    taken = {o.flag or name for name, o in options_of(RunConfig).items()} | set(_COMMANDS_OWN)
    return {f"{config.name}_{n}" if n in taken else n: n for n in options_of(config)}


def method_from_flags(args: argparse.Namespace, base: MethodConfig | None = None) -> MethodConfig:
    """The config of ``--method`` with the flags that were given.

    Args:
        args: parsed.
        base: what flags that were not given are taken from, if it is of the same method.

    Raises:
        ValueError: unknown method, a flag that it does not have, a value out of range.
    """
    base = base if base is not None else RunConfig().method
    config = method_class(getattr(args, "method", None) or base.name).Config
    flags, options = _flags_of(config), options_of(config)
    given = _given(args, _METHOD)
    foreign = sorted(set(given) - set(flags))
    if foreign:
        listed = ", ".join(_flag(name) for name in foreign)
        known = ", ".join(_flag(name) for name in flags)
        raise ValueError(f"method {config.name} has no {listed}: it has {known}")
    values = {flags[f]: parse_option(options[flags[f]], text) for f, text in given.items()}
    start = base if type(base) is config else config()
    return dataclasses.replace(start, **values)
