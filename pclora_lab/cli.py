"""``pclora-lab demo · train · plan · doctor``: the lab without a notebook.

Progress and remarks go to stderr. With ``--json`` the last line of stdout is one JSON object.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pclora_lab.config import INITS, TAPS, TEACHERS, PCLoRAConfig, RunConfig
from pclora_lab.schedules import SCHEDULES

__all__ = ["main"]

_TARGETS = "'blocks' for all linear layers in the blocks, or a regular expression over names"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status (0 done, 1 problems found, 2 bad input)."""
    args = _parser().parse_args(argv)
    try:
        return args.command(args)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"pclora-lab: {error}", file=sys.stderr)
        if args.json:
            print(json.dumps({"error": str(error), "type": type(error).__name__}))
        return 2
    except KeyboardInterrupt:
        print("pclora-lab: stopped; the run folder keeps what was logged", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pclora-lab",
        description="Fade a transformer's base weights into low-rank adapters (PC-LoRA).",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_train(commands)
    _add_plan(commands)
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


def _add_train(commands: Any) -> None:
    text = "Train one run: teacher if needed, fade, compress, measure."
    parser = _command(commands, "train", _train, text)
    run, method = RunConfig(), RunConfig().method
    add = parser.add_argument
    add("--model", default=run.model, help="vit_digits, a timm name, local-dir:PATH or a folder")
    add("--data", default=run.data, help="digits, a hub name, or a folder of parquet or images")
    add("--img-size", type=int, default=None, help="side of the input in px (default: model's)")
    add("--image-column", default=None, help="name of the image column (default: guessed)")
    add("--label-column", default=None, help="name of the label column (default: guessed)")
    add("--rank", default=str(method.rank), help='rank, or a share of break-even such as "25%%"')
    add("--schedule", default=method.schedule, help=_schedule_help())
    add("--fade-end", type=float, default=method.fade_end, help="q, share of steps until λ = 0")
    add("--alpha", type=float, default=method.alpha, help="α, share of the task loss")
    add("--init", default=method.init, help=f"start of A, B, C: {', '.join(INITS)}")
    add("--taps", default=method.taps, help=f"features that are imitated: {', '.join(TAPS)}")
    add("--logit-weight", type=float, default=method.logit_weight, help="weight of logit KD")
    add("--targets", default=method.targets, help=_TARGETS)
    add("--train-norms", action="store_true", help="train the LayerNorms too")
    add("--steps", type=int, default=run.steps, help="optimiser steps of the fade")
    add("--batch-size", type=int, default=run.batch_size, help="images per step")
    add("--lr", type=float, default=run.lr, help="peak learning rate of the fade")
    add("--teacher", default=run.teacher, help=f"teacher: {', '.join(TEACHERS)}")
    add("--teacher-steps", type=int, default=run.teacher_steps, help="steps of its fine-tuning")
    add("--teacher-lr", type=float, default=run.teacher_lr, help="its peak learning rate")
    add("--seed", type=int, default=run.seed, help="seed of A, the head and the batches")
    add("--device", default=run.device, help="auto, cpu, cuda, cuda:1 or mps")
    add("--precision", default=run.precision, help="auto, float32 or bfloat16")
    add("--evaluations", type=int, default=run.evaluations, help="accuracy readings on the way")
    add("--out", default="runs", help="folder of runs; teachers are kept below it")


def _schedule_help() -> str:
    return f"{', '.join(SCHEDULES)}, or points as JSON: [[0,1],[0.2,0.7],[0.6,0]]"


def _add_plan(commands: Any) -> None:
    text = (
        "Say what a rank would give, from the architecture alone: no weights, no network. "
        "'replaced' are the linear layers in the blocks, 'dense' is what stays as it is, "
        "'whole_model' is both."
    )
    parser = _command(commands, "plan", _plan, text)
    parser.add_argument("model", help="vit_digits, a timm name, local-dir:PATH or a folder")
    parser.add_argument("--rank", default="16", help='rank, or a share such as "25%%"')
    parser.add_argument("--targets", default="blocks", help=_TARGETS)
    parser.add_argument("--img-size", type=int, default=None, help="side of the input in px")
    parser.add_argument(
        "--num-classes",
        type=int,
        default=10,
        help="classes of the head: 10 as for digits and CIFAR-10; 1000 for ImageNet",
    )


def _add_doctor(commands: Any) -> None:
    text = "Print versions of kernel and browser side, the device, and what is wrong."
    _command(commands, "doctor", _doctor, text)


def _train_config(args: argparse.Namespace) -> RunConfig:
    rank = args.rank if args.rank.strip().endswith("%") else _number_or_text(args.rank)
    method = PCLoRAConfig(
        rank=rank,
        schedule=_parse_schedule(args.schedule),
        fade_end=args.fade_end,
        alpha=args.alpha,
        init=args.init,
        taps=args.taps,
        logit_weight=args.logit_weight,
        targets=args.targets,
        train_norms=args.train_norms,
    )
    same = ("model", "data", "img_size", "image_column", "label_column", "steps", "batch_size")
    same += ("lr", "teacher", "teacher_steps", "teacher_lr", "seed", "device", "precision")
    same += ("evaluations",)
    return RunConfig(method=method, **{name: getattr(args, name) for name in same})


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _parse_schedule(text: str) -> Any:
    if not text.lstrip().startswith("["):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"schedule {text!r} is not a JSON list of points: {error}") from error


def _train(args: argparse.Namespace) -> int:
    finished = run_to_end(_train_config(args), args.out)
    _print_result(finished.result, args.json)
    return 0


def _demo(args: argparse.Namespace) -> int:
    from pclora_lab.report import write_report

    finished = run_to_end(RunConfig(seed=args.seed), args.out)
    report = write_report(finished.result["run_dir"])
    _print_result({**finished.result, "report": str(report)}, args.json)
    return 0


def run_to_end(config: RunConfig, root: str | Path) -> Any:
    """Run with a progress bar on stderr; returns the :class:`Finished` event."""
    from tqdm import tqdm

    from pclora_lab.devices import resolve_device
    from pclora_lab.events import Finished, Phase, Row, Tick
    from pclora_lab.runs import new_run_folder, record
    from pclora_lab.training import train

    resolve_device(config.device)
    bar = tqdm(file=sys.stderr, unit="step", dynamic_ncols=True)
    with closing(bar), closing(record(train(config, root), new_run_folder(root, config))) as events:
        for event in events:
            match event:
                case Phase(name, steps):
                    bar.set_description(name)
                    bar.reset()
                    bar.total = steps or None
                case Tick():
                    bar.update()
                case Row(values) if values.get("accuracy") is not None:
                    bar.set_postfix(_bar_facts(values))
                case Finished():
                    return event
    raise RuntimeError("the run ended without a result")


def _bar_facts(values: dict[str, Any]) -> dict[str, str]:
    facts = {"λ": values.get("lam"), "accuracy": values["accuracy"]}
    facts["if removed"] = values.get("accuracy_if_base_removed")
    return {name: f"{value:.3f}" for name, value in facts.items() if value is not None}


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    from pclora_lab.report import result_table

    print(result_table(result))
    if as_json:
        print(json.dumps(result))


def _plan(args: argparse.Namespace) -> int:
    from pclora_lab.accounting import plan
    from pclora_lab.models import describe_model

    model = describe_model(args.model, num_classes=args.num_classes, img_size=args.img_size)
    sizes = plan(model, _number_or_text(args.rank), targets=args.targets)
    print(f"{args.model}, rank {args.rank}, head with {args.num_classes} classes")
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
        facts = {"model": args.model, "rank": args.rank, "num_classes": args.num_classes}
        print(json.dumps({**facts, **sizes.to_dict()}))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from pclora_lab.doctor import examine

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
