"""``pclora-lab demo · app · train · resume · compare · plan · export · doctor``: no notebook.

Progress and remarks go to stderr. With ``--json`` the last line of stdout is one JSON object.
"""

import argparse
import json
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pclora_lab.cli.compare import add_compare_flags, run_compare
from pclora_lab.cli.flags import add_method_flags, method_from_flags
from pclora_lab.export.formats import FORMATS
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import make_method
from pclora_lab.training.config import COMPARED, TEACHERS, RunConfig

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status (0 done, 1 problems found, 2 bad input)."""
    args = _parser().parse_args(argv)
    try:
        return args.command(args)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"pclora-lab: {error}", file=sys.stderr)
        if args.json:
            print(json.dumps({"error": str(error), "type": type(error).__name__}))
        return 2
    except KeyboardInterrupt:
        print(
            "pclora-lab: stopped; what was logged is kept, and `pclora-lab resume FOLDER` goes on "
            "with a run that has left a checkpoint",
            file=sys.stderr,
        )
        return 130


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
    text = "Fade the embedded model on the embedded data; write a report and the small model."
    parser = _command(commands, "demo", _demo, text)
    parser.add_argument("--out", default="runs", help="folder of runs")
    parser.add_argument("--seed", type=int, default=0, help="seed of A and of the batches")


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
    add_run_flags(parser)
    add_method_flags(parser)
    add = parser.add_argument
    add("--lr", type=float, default=None, help="peak learning rate (none: the method's usual one)")
    add("--seed", type=int, default=0, help="seed of new weights and of the batches")
    add("--out", default="runs", help="folder of runs; teachers are kept below it")


def _add_resume(commands: Any) -> None:
    text = "Go on with a run that was stopped or killed, from its checkpoint."
    parser = _command(commands, "resume", _resume, text)
    parser.add_argument("run", help="folder of the run")


def add_run_flags(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Model, data, effort and machine: what every run has, whatever its method."""
    run, add = RunConfig(**defaults), parser.add_argument
    add("--model", default=run.model, help=_MODEL_HELP)
    add("--data", default=run.data, help="digits, glosses, a hub name, a table or a folder")
    _add_input_flags(add)
    add("--image-column", default=None, help="name of the image column (default: guessed)")
    add("--text-column", default=None, help="name of the text column (default: guessed)")
    add("--label-column", default=None, help="name of the label column (default: guessed)")
    add("--steps", type=int, default=run.steps, help="optimizer steps of the method")
    add("--batch-size", type=int, default=run.batch_size, help="examples per step")
    add("--teacher", default=run.teacher, help=f"teacher: {', '.join(TEACHERS)}")
    add("--teacher-steps", type=int, default=run.teacher_steps, help="steps of its fine-tuning")
    add("--teacher-lr", type=float, default=run.teacher_lr, help="its peak learning rate")
    add("--device", default=run.device, help="auto, cpu, cuda, cuda:1 or mps")
    add("--precision", default=run.precision, help="auto, float32 or bfloat16")
    add("--evaluations", type=int, default=run.evaluations, help="accuracy readings on the way")


_MODEL_HELP = (
    "vit_digits, bert_glosses, a timm name, owner/name of a transformers model, or a folder"
)


def _add_input_flags(add: Callable[..., Any]) -> None:
    add("--img-size", type=int, default=None, help="side of the input in px (default: model's)")
    add("--max-tokens", type=int, default=None, help="longest text (default: 128 or model's)")
    text = "take fused query-key-value layers as three"
    add("--split-qkv", action="store_true", help=text)


def _add_plan(commands: Any) -> None:
    text = (
        "Say what a rank would give, from the architecture alone: no weights, no network. "
        "'replaced' are the linear layers in the blocks, 'dense' is what stays as it is, "
        "'whole_model' is both."
    )
    parser = _command(commands, "plan", _plan, text)
    parser.add_argument("model", help=_MODEL_HELP)
    add_method_flags(parser)
    _add_input_flags(parser.add_argument)
    help_ = "of a transformers model: text-classification, language-model, image-text, ..."
    parser.add_argument("--task", default=None, help=help_)
    parser.add_argument(
        "--num-classes",
        type=int,
        default=10,
        help="classes of the head: 10 as for digits and CIFAR-10; 1000 for ImageNet",
    )


def _add_export(commands: Any) -> None:
    text = "Write a finished run's model in formats that do not need this package, with a card."
    parser = _command(commands, "export", _export, text)
    parser.add_argument("run", help="a run folder")
    parser.add_argument("--out", default="exported", help="folder to write into")
    text = f"some of {','.join(FORMATS)}"
    parser.add_argument("--formats", default="standalone", help=text)


def _add_doctor(commands: Any) -> None:
    text = "Print versions of kernel and browser side, the device, and what is wrong."
    _command(commands, "doctor", _doctor, text)


def _add_compare(commands: Any) -> None:
    text = (
        "Run every method at every budget and seed on the same data and steps; learning rates "
        "are chosen on validation data. Compressors start from a teacher that is fine-tuned first "
        "where the head is new; its steps come on top. With --json stdout is a list of rows."
    )
    parser = _command(commands, "compare", _compare, text)
    add_run_flags(parser, evaluations=4)
    add_compare_flags(parser, COMPARED)


RUN_FIELDS = (
    "model", "data", "img_size", "max_tokens", "split_qkv", "image_column", "text_column",
    "label_column", "steps", "batch_size", "teacher", "teacher_steps", "teacher_lr", "device",
    "precision", "evaluations",
)  # fmt: skip


def _train_config(args: argparse.Namespace) -> RunConfig:
    same = {name: getattr(args, name) for name in (*RUN_FIELDS, "lr", "seed")}
    return RunConfig(method=method_from_flags(args), **same)


def _resume(args: argparse.Namespace) -> int:
    from pclora_lab.runs.resuming import resume

    _print_end(watch_to_end(resume(args.run)), args.json)
    return 0


def _compare(args: argparse.Namespace) -> int:
    return run_compare(args, RunConfig(**{name: getattr(args, name) for name in RUN_FIELDS}))


def _train(args: argparse.Namespace) -> int:
    _print_end(run_to_end(_train_config(args), args.out), args.json)
    return 0


def _print_end(finished: Any, as_json: bool) -> None:
    for note in finished.result["notes"]:
        print(f"note: {note}", file=sys.stderr)
    _print_result(finished.result, as_json)


def _app(args: argparse.Namespace) -> int:
    from pclora_lab.cli.app import main as run_app

    browser = not args.no_browser
    return run_app(
        args.root, port=args.port, open_browser=browser, as_json=args.json, dark=args.dark
    )


def _demo(args: argparse.Namespace) -> int:
    from pclora_lab.plots.report import write_report

    finished = run_to_end(RunConfig(seed=args.seed), args.out)
    report = write_report(finished.result["run_dir"])
    _print_result({**finished.result, "report": str(report)}, args.json)
    return 0


def run_to_end(config: RunConfig, root: str | Path, cache: Any = None) -> Any:
    """Run with a progress bar on stderr; returns the :class:`RunEnd` event.

    Args:
        config: what to do.
        root: folder of runs.
        cache: a :class:`pclora_lab.data.cache.DataCache` that several runs share.
    """
    from pclora_lab.runs.folder import new_run_folder
    from pclora_lab.runs.recorder import record
    from pclora_lab.training.device import resolve_device
    from pclora_lab.training.loop import train

    resolve_device(config.device)
    folder = new_run_folder(root, config)
    return watch_to_end(record(train(config, root, cache=cache), folder))


def watch_to_end(events: Generator[Any, None, None]) -> Any:
    """Draw a progress bar on stderr while a run goes on; returns the :class:`RunEnd` event."""
    from tqdm import tqdm

    from pclora_lab.training.events import LogRow, PhaseStart, RunEnd, StepEnd

    bar = tqdm(file=sys.stderr, unit="step", dynamic_ncols=True)
    with closing(bar), closing(events):
        for event in events:
            match event:
                case PhaseStart(name, steps):
                    bar.set_description(name)
                    bar.reset()
                    bar.total = steps or None
                case StepEnd(_, step, _):
                    if not bar.n:  # a run that is taken up has done its first steps before
                        bar.n = bar.initial = bar.last_print_n = step - 1
                    bar.update(step - bar.n)
                case LogRow(values) if values.get("accuracy") is not None:
                    bar.set_postfix(_bar_facts(values))
                case RunEnd():
                    return event
    raise RuntimeError("the run ended without a result")


def _bar_facts(values: dict[str, Any]) -> dict[str, str]:
    facts = {"λ": values.get("lam"), "accuracy": values["accuracy"]}
    facts["if removed"] = values.get("accuracy_if_base_removed")
    return {name: f"{value:.3f}" for name, value in facts.items() if value is not None}


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    from pclora_lab.runs.summary import result_table

    print(result_table(result))
    if as_json:
        print(json.dumps(result))


def _plan(args: argparse.Namespace) -> int:
    from pclora_lab.models.loading import describe_model

    method = make_method(method_from_flags(args, PCLoRAConfig()))
    inputs = {name: getattr(args, name) for name in ("img_size", "max_tokens", "split_qkv", "task")}
    model = describe_model(args.model, num_classes=args.num_classes, **inputs)
    sizes = method.plan(method.count(model), model)
    print(f"{args.model}, {method.title}, {_counted(model)}")
    print(f"{'':12} {'parameters':>27} {'removed':>8} {'MMACs':>19} {'removed':>8}")
    for name, size in (
        ("replaced", sizes.replaced),
        ("stays dense", sizes.dense),
        ("whole model", sizes.whole_model),
    ):
        params = f"{size.params_before:,} → {size.params_after:,}"
        macs = f"{size.macs_before / 1e6:,.1f} → {size.macs_after / 1e6:,.1f}"
        print(f"{name:12} {params:>27} {size.params_removed:8.2%} {macs:>19}", end=" ")
        print(f"{size.macs_removed:8.2%}")
    print(f"break-even rank: {sizes.break_even_rank} (a rank must stay below it)")
    if args.json:
        facts: dict[str, Any] = {"model": args.model, "method": method.config.to_dict()}
        facts |= {"rank": facts["method"].get("rank"), "num_classes": args.num_classes}
        print(json.dumps({**facts, **sizes.to_dict()}))
    return 0


def _counted(model: Any) -> str:
    """What one example and the head were in the count."""
    tokens = model.pclora_recipe.get("tokens")
    classes = getattr(model, "num_classes", None)
    parts = [f"a text of {tokens} tokens"] if tokens else []
    parts += [f"head with {classes} classes"] if classes else []
    return ", ".join(parts)


def _export(args: argparse.Namespace) -> int:
    from pclora_lab.export.run import export_run

    reports = export_run(args.run, args.out, args.formats.split(","))
    for report in reports:
        print(report)
    print(f"model card: {Path(args.out) / 'README.md'}")
    if args.json:
        print(json.dumps([report.to_dict() for report in reports]))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from pclora_lab.cli.doctor import examine

    findings = examine()
    for name, value in findings["facts"].items():
        print(f"{name:32} {value}")
    for problem in findings["problems"]:
        print(f"PROBLEM: {problem}")
    if not findings["problems"]:
        print("no problem found")
    if args.json:
        print(json.dumps(findings))
    return 1 if findings["problems"] else 0
