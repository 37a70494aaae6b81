"""``pclora-lab demo · app · train · resume · compare · data · plan · export · doctor``.

Progress and notes go to stderr. With ``--json`` the last line of stdout is one JSON object.
"""

import argparse
import contextlib
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pclora_lab.cli.compare import add_compare_flags, run_compare, set_by_comparison
from pclora_lab.cli.data import add_data_flags, run_data
from pclora_lab.cli.demo import add_demo_flags, run_demo
from pclora_lab.cli.flags import add_method_flags, add_run_flags, run_from_flags
from pclora_lab.cli.plan import add_plan_flags, run_plan
from pclora_lab.cli.progress import print_end, run_to_end, watch_to_end
from pclora_lab.cli.signals import Stopped, end_quietly
from pclora_lab.cli.terminal import plain_characters, process_number, settle, tell
from pclora_lab.export.formats import FORMATS
from pclora_lab.json_files import to_json
from pclora_lab.methods.registry import compared_methods
from pclora_lab.training.config import RunConfig, read_config
from pclora_lab.wording import explained

if TYPE_CHECKING:
    from pclora_lab.export.report import ExportReport

__all__ = ["main"]

# Many runs: fewer readings on the way than in one that somebody watches.
_COMPARED_WITH = RunConfig(evaluations=4)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status (0 done, 1 problems found, 2 bad input).

    A signal that stopped a training gives 128 and its number.
    """
    plain_characters()
    args = _parser().parse_args(argv)
    try:
        return _run(args)
    finally:
        settle()
        end_quietly()


def _run(args: argparse.Namespace) -> int:
    try:
        _require_named(args)
        return args.command(args)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        return _end(args, 2, explained(error), type(error).__name__)
    except Stopped as stopped:
        return _end(args, stopped.exit_status, f"{stopped}; {_how_to_go_on(stopped)}", "Stopped")
    except KeyboardInterrupt:
        return _end(args, 130, "stopped", "KeyboardInterrupt")


def _end(args: argparse.Namespace, status: int, message: str, kind: str) -> int:
    number = process_number()
    tell(f"pclora-lab{f' (process {number})' if number else ''}: {message}")
    if args.json and not number:
        # Whoever reads the result may be gone too.
        with contextlib.suppress(OSError):
            print(to_json({"error": message, "type": kind}))
    return status


def _how_to_go_on(stopped: Stopped) -> str:
    if stopped.run is None:
        return "the same command goes on where it was"
    return f"`pclora-lab resume {shlex.quote(stopped.run)}` goes on"


def _require_named(args: argparse.Namespace) -> None:
    """An empty name would be the working directory.

    Raises:
        ValueError: names the argument.
    """
    for name in ("out", "root", "run"):
        if not str(getattr(args, name, "runs")).strip():
            raise ValueError(f'{name} is empty: name a folder ("." is this one)')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pclora-lab",
        description="Compress transformers: PC-LoRA and the methods it is compared with.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_app(commands)
    _add_train(commands)
    _add_resume(commands)
    _add_compare(commands)
    _add_data(commands)
    _add_plan(commands)
    _add_export(commands)
    _add_doctor(commands)
    return parser


def _command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end stdout with one JSON object")
    parser.set_defaults(command=run)
    return parser


def _add_demo(commands: Any) -> None:
    text = "Fade the built-in model on the built-in data; write a report and the small model."
    add_demo_flags(_command(commands, "demo", run_demo, text))


def _add_app(commands: Any) -> None:
    text = "Open the lab in the browser as a page of its own, served on 127.0.0.1 with a token."
    parser = _command(commands, "app", _app, text)
    parser.add_argument("--root", default="runs", help="folder of runs")
    parser.add_argument("--port", type=int, default=8866, help="port, or one near it if taken")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--dark", action="store_true", help="a dark page")


def _add_train(commands: Any) -> None:
    text = "Train one run of any method: teacher if needed, train, finish, measure."
    parser = _command(commands, "train", _train, text)
    text = "config.json of a run, or its folder: repeats the run; flags override what it says"
    parser.add_argument("--config", default=argparse.SUPPRESS, metavar="FILE", help=text)
    add_run_flags(parser, RunConfig())
    add_method_flags(parser)
    text = "folder of runs; teachers are kept below it"
    parser.add_argument("--out", default="runs", help=text)


def _add_resume(commands: Any) -> None:
    text = "Go on with a run that was stopped or killed, from its checkpoint."
    parser = _command(commands, "resume", _resume, text)
    parser.add_argument("run", help="folder of the run")
    text = "go on even if data, model or settings changed since it began; the result says so"
    parser.add_argument("--allow-changes", action="store_true", help=text)


def _add_plan(commands: Any) -> None:
    text = (
        "Say what a rank would give, from the architecture alone: no weights, no network. "
        "'replaced' are the linear layers in the blocks, 'dense' is what stays as it is, "
        "'whole_model' is both."
    )
    add_plan_flags(_command(commands, "plan", run_plan, text))


def _add_data(commands: Any) -> None:
    text = (
        "Say what is in a data set, without training: files, columns and rows found, used and left "
        "out and why, the splits, and the examples of every class."
    )
    add_data_flags(_command(commands, "data", run_data, text))


def _add_export(commands: Any) -> None:
    text = "Write a finished run's model in formats that do not need this package, with a card."
    parser = _command(commands, "export", _export, text)
    parser.add_argument("run", help="a run folder")
    parser.add_argument("--out", default="exported", help="folder to write into")
    text = f"some of {','.join(FORMATS)}"
    parser.add_argument("--formats", default="standalone", help=text)
    text = "replace files of other origin in that folder"
    parser.add_argument("--force", action="store_true", help=text)
    text = "time the model in torch, compiled, and as exported, and name the fastest way here"
    parser.add_argument("--speeds", action="store_true", help=text)


def _add_doctor(commands: Any) -> None:
    text = (
        "Print versions of kernel and browser side, the device, what runs and teachers take on the "
        "disk, and what is wrong."
    )
    parser = _command(commands, "doctor", _doctor, text)
    parser.add_argument("--root", default="runs", help="folder of runs")


def _add_compare(commands: Any) -> None:
    text = (
        "Run every method at every budget and seed on the same data and steps; learning rates "
        "are chosen on validation data. Compressors start from a teacher that is fine-tuned first "
        "where the head is new; its steps come on top. With --json stdout is a list of rows."
    )
    parser = _command(commands, "compare", _compare, text)
    add_run_flags(parser, _COMPARED_WITH, without=set_by_comparison(_COMPARED_WITH))
    add_compare_flags(parser, compared_methods())


def _resume(args: argparse.Namespace) -> int:
    from pclora_lab.runs.resuming import resume

    print_end(watch_to_end(resume(args.run, allow_changes=args.allow_changes)), args.json)
    return 0


def _compare(args: argparse.Namespace) -> int:
    return run_compare(args, run_from_flags(args, _COMPARED_WITH))


def _train(args: argparse.Namespace) -> int:
    base = read_config(args.config) if "config" in args else RunConfig()
    print_end(run_to_end(run_from_flags(args, base), args.out), args.json)
    return 0


def _app(args: argparse.Namespace) -> int:
    from pclora_lab.cli.app import main as run_app

    browser = not args.no_browser
    return run_app(
        args.root, port=args.port, open_browser=browser, as_json=args.json, dark=args.dark
    )


def _export(args: argparse.Namespace) -> int:
    from pclora_lab.export.run import export_run

    missing: dict[str, Exception] = {}
    formats = [name.strip() for name in args.formats.split(",")]
    reports = export_run(args.run, args.out, formats, force=args.force, missing=missing.__setitem__)
    for report in reports:
        print(report)
    if "model card" not in missing:
        print(f"model card: {Path(args.out) / 'README.md'}")
    found = _speeds(args.run, reports) if args.speeds else {}
    facts = [report.to_dict() for report in reports]
    facts += [{"speeds_ms": found}] if found else []
    facts += [{"format": name, "error": str(error)} for name, error in missing.items()]
    if args.json:
        print(to_json(facts, missing_as_null=True))
    if missing:
        settle()
        reasons = "; ".join(f"{name} ({explained(error)})" for name, error in missing.items())
        tell(f"pclora-lab: not written: {reasons}. The rest is in {args.out}")
    return 1 if missing else 0


def _speeds(run: str, reports: Sequence["ExportReport"]) -> dict[str, float]:
    """Print how long every way of running the model takes."""
    from pclora_lab.export.speeds import speed_table, speeds
    from pclora_lab.models.serialization import from_pretrained

    written = {report.format: Path(report.path) for report in reports}
    found = speeds(from_pretrained(Path(run) / "compressed"), written)
    print("One example at a time, on this CPU:")
    for line in speed_table(found):
        print(f"  {line}")
    return found


def _doctor(args: argparse.Namespace) -> int:
    from pclora_lab.cli.doctor import examine

    findings = examine(args.root)
    for name, value in findings["facts"].items():
        print(f"{name:32} {value}")
    for problem in findings["problems"]:
        print(f"PROBLEM: {problem}")
    if not findings["problems"]:
        print("no problem found")
    if args.json:
        print(to_json(findings, missing_as_null=True))
    return 1 if findings["problems"] else 0
