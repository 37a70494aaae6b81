"""``pclora-lab compare``: methods × budgets × seeds; a bar on stderr, a table at the end."""

import argparse
import contextlib
import dataclasses
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pclora_lab.cli.parsing import parse_option
from pclora_lab.cli.progress import progress_bar
from pclora_lab.cli.signals import stop_requests
from pclora_lab.cli.terminal import tell
from pclora_lab.data.splits import short_name
from pclora_lab.fields import Part, nearest, options_of, values_of
from pclora_lab.files import without_home
from pclora_lab.json_files import to_json
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.registry import method_class
from pclora_lab.ownership import refuse_foreign
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.training.config import RunConfig
from pclora_lab.wording import explained

if TYPE_CHECKING:
    from pclora_lab.runs.comparison import Workers
    from pclora_lab.runs.result_columns import ResultColumn

__all__ = ["add_compare_flags", "run_compare", "set_by_comparison"]


def add_compare_flags(parser: argparse.ArgumentParser, methods: tuple[str, ...]) -> None:
    """The grid, and where it is kept."""
    add = parser.add_argument
    add("--methods", default=",".join(methods), help="names, separated by commas")
    add("--budgets", default="0.05,0.1,0.2", help="shares of the replaced layers to keep or train")
    add("--seeds", default="0,1,2", help="seeds of new weights and of the batches")
    add(
        "--lrs",
        default=None,
        help="learning rates to choose from on validation data (none: each method's own few)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="METHOD.OPTION=VALUE",
        help="another option of one method, e.g. pclora.init=zeros; can be repeated",
    )
    add(
        "--workers",
        default=None,
        metavar="N",
        help="processes that run cells side by side, each with one thread on a CPU, or auto "
        "(default: 1, this process; of ray and dask auto)",
    )
    add(
        "--devices",
        default=None,
        help="devices dealt out to the workers, e.g. cuda:0,cuda:1 (default: all GPUs there are)",
    )
    add(
        "--backend",
        default="loky",
        metavar="NAME",
        help="what runs the workers: loky (this machine), ray, dask, or a backend of joblib's",
    )
    add(
        "--address",
        default=None,
        metavar="HOST:PORT",
        help="of a Ray or dask that runs, or auto for a Ray of this machine (default: workers of "
        "this machine); its nodes need --out, model and data at the same place",
    )
    add(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an environment variable of every worker; can be repeated",
    )
    add("--out", default="runs/comparison", help="folder of the comparison; it can be resumed")
    add("--force", action="store_true", help="replace files of other origin in that folder")


def set_by_comparison(base: RunConfig) -> set[str]:
    """Settings that a comparison chooses itself: what it varies, and what only observes a run."""
    return set(values_of(base, Part.AXIS, Part.OBSERVES))


def _numbers(text: str, what: str, kind: Callable[[str], Any]) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ValueError(
            f"{what} {text!r} is no list of numbers: separate them by commas"
        ) from None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _workers(text: str | None) -> int | str | None:
    if text is None or text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--workers {text!r} is no number: use 1, 2, … or auto") from None


def _environment(given: list[str]) -> dict[str, str]:
    """``["HF_HOME=/shared/hf"]`` as variables by name."""
    for text in given:
        if not text.partition("=")[1]:
            raise ValueError(f"--env {text!r} is not NAME=VALUE, e.g. HF_HOME=/shared/hf")
    return dict(text.split("=", 1) for text in given)


def _options(given: list[str]) -> dict[str, MethodConfig]:
    """``["pclora.init=zeros"]`` as configs by method."""
    configs: dict[str, MethodConfig] = {}
    for text in given:
        target, equals, value = text.partition("=")
        name, dot, option = target.partition(".")
        if not (equals and dot):
            raise ValueError(f"--set {text!r} is not METHOD.OPTION=VALUE, e.g. pclora.init=zeros")
        config = configs.get(name) or method_class(name).default_config()
        known = options_of(config)
        if option not in known:
            listed = ", ".join(known)
            near = nearest(option, known)
            raise ValueError(f"method {name} has no option {option!r}{near}: it has {listed}")
        configs[name] = dataclasses.replace(config, **{option: parse_option(known[option], value)})
    return configs


def run_compare(args: argparse.Namespace, base: RunConfig) -> int:
    """Run the grid; returns 0, or 1 if no run of it succeeded."""
    from pclora_lab.runs.comparison import Comparison
    from pclora_lab.training.device import resolve_device

    if args.backend == "loky":  # nodes of a cluster may have other devices
        resolve_device(base.device)
    out = Path(args.out)
    if not (out / "comparison.json").is_file():  # else the folder is a comparison's
        refuse_foreign([out / "result.json", out / "pareto.png"], force=args.force)
    comparison = Comparison(
        base,
        methods=_names(args.methods),
        budgets=_numbers(args.budgets, "--budgets", float),
        seeds=_numbers(args.seeds, "--seeds", int),
        out=args.out,
        options=_options(args.set),
        lrs=_numbers(args.lrs, "--lrs", float) if args.lrs else None,
        workers=_workers(args.workers),
        devices=_names(args.devices) if args.devices else None,
        backend=args.backend,
        address=args.address,
        environment=_environment(args.env),
    )
    if told := comparison.find_task():
        tell(told)
    with stop_requests() as request, progress_bar() as bar, closing(comparison.run()) as steps:
        for step in steps:
            bar.total = step.total
            bar.set_description(step.text, refresh=False)
            bar.update(step.done - bar.n)
            request.check()
    rows = comparison.rows()
    # With --json the rows alone go to stdout, so that another program can read it.
    with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
        _tell(rows)
    if args.json:
        print(to_json(rows, missing_as_null=True))
    _write(comparison, rows)
    with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
        print(f"comparison in {comparison.out}: result.json, pareto.png")
    return 0 if any(row["error"] is None for row in rows) else 1


def _tell(rows: list[dict[str, Any]]) -> None:
    from pclora_lab.runs.comparison import ranking_of, summarize

    if any(row["error"] is None for row in rows):
        print(_table(summarize(rows), ranking_of(rows)))
    for row in rows:
        if row["error"] is not None:
            name = f"{row['method']}, budget {row['budget']:g}, seed {row['seed']}"
            print(f"failed: {name}: {row['error']}")


def _write(comparison: Any, rows: list[dict[str, Any]]) -> None:
    """The record: command, machine, configuration, what was tried, what came out; and a plot.

    Raises:
        OSError: the record can't be written.
    """
    import torch

    from pclora_lab.files import atomic_write
    from pclora_lab.json_files import write_json
    from pclora_lab.plots.pareto import pareto_figure

    places = comparison.base.model, comparison.base.data, comparison.out
    arguments = (_shown_argument(argument) for argument in _without_values(sys.argv[1:]))
    command = ["pclora-lab", *(f"'{a}'" if " " in a else a for a in arguments)]
    facts = {
        "command": without_home(" ".join(command)),
        "hardware": _hardware(rows, comparison.workers),
        "torch": torch.__version__,
        "base": {k: _shown(v) for k, v in comparison.base.to_dict().items() if k != "method"},
        "methods": {name: config.to_dict() for name, config in comparison.grid.configs.items()},
        "tuning": [_shown_row(trial, *places) for trial in comparison.tuning],
        "rows": [_shown_row(row, *places) for row in rows],
    }
    try:
        write_json(Path(comparison.out) / "result.json", facts, missing_as_null=True)
    except OSError as error:
        raise OSError(
            f"{comparison.out}/result.json can't be written ({explained(error)}). Then the same "
            "command writes it; nothing is trained again"
        ) from error
    if any(row["error"] is None for row in rows):
        try:
            with atomic_write(Path(comparison.out) / "pareto.png") as part:
                pareto_figure(rows).savefig(part, format="png", dpi=120)
        except OSError as error:
            tell(f"note: pareto.png can't be written ({explained(error)})")


def _shown(value: Any) -> Any:
    return without_home(short_name(value)) if isinstance(value, str) else value


def _without_values(arguments: Sequence[str]) -> list[str]:
    """The same with names of environment variables only: one may hold a token.

    Example:
        >>> _without_values(["--env", "HF_TOKEN=secret", "--env=A=b", "--seeds", "0"])
        ['--env', 'HF_TOKEN=…', '--env=A=…', '--seeds', '0']
    """
    return [
        re.sub(r"^((?:--env=)?[^=]*=).*", r"\1…", text, flags=re.DOTALL)
        if text.startswith("--env=") or flag == "--env"
        else text
        for flag, text in pairwise(["", *arguments])
    ]


def _shown_argument(text: str) -> str:
    """Of a path its last part: a record may be shared."""
    flag, sign, value = text.partition("=") if text.startswith("--") else ("", "", text)
    if "/" in value and os.path.exists(os.path.expanduser(value)):
        value = os.path.basename(os.path.abspath(value))
    return f"{flag}{sign}{short_name(value)}"


def _shown_row(row: Mapping[str, Any], *places: Path | str) -> dict[str, Any]:
    from pclora_lab.runs.durable.places import without_places

    error = row.get("error")
    return {**row, "error": error and without_places(error, *places)}


def _hardware(rows: list[dict[str, Any]], workers: "Workers") -> str:
    import torch

    device = next((row["device"] for row in rows if row["device"]), "cpu")
    if workers.backend.is_elsewhere:
        each = "GPU" if device.startswith("cuda") else "thread"
        return f"{workers.count} workers of {workers.backend.name}, 1 {each} each"
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    if not workers.is_this_process:
        return f"{os.cpu_count()} CPU cores, {workers.count} workers of 1 thread"
    return f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads"


def _number(row: Any, column: "ResultColumn") -> str:
    value = getattr(row, column.key, math.nan)  # older results lack what was not measured then
    missing = math.isnan(value)
    return "–" if missing else f"{column.scale * value:,.{min(column.digits, 1)}f}"


def _table(summary: Any, metric: TaskMetric = ACCURACY) -> str:
    from pclora_lab.runs.result_columns import RESULT_COLUMNS

    shown = [column for column in RESULT_COLUMNS if column.head]
    widths = {column.key: 12 if column.digits == 0 else 8 for column in shown}
    heads = " ".join(f"{column.head:>{widths[column.key]}}" for column in shown)
    lines = [f"{'method':16} {'budget':>6} {metric.label:>16} {heads}"]
    for row in summary.itertuples():
        mean, std = (getattr(row, f"{metric.key}_{kind}") for kind in ("mean", "std"))
        score = metric.roughly(mean, None if row.seeds < 2 else std)
        cells = " ".join(f"{_number(row, c):>{widths[c.key]}}" for c in shown)
        lines.append(f"{row.method:16} {row.budget:6g} {score:>16} {cells}")
    return "\n".join(lines)
