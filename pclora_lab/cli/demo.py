"""``pclora-lab demo``: the built-in model on the built-in data, and a report that is opened."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pclora_lab.cli.opening import open_page
from pclora_lab.cli.progress import print_result, run_to_end
from pclora_lab.cli.terminal import tell
from pclora_lab.training.config import RunConfig
from pclora_lab.wording import explained

if TYPE_CHECKING:
    from pclora_lab.data.cache import DataCache

__all__ = ["add_demo_flags", "run_demo"]


def add_demo_flags(parser: argparse.ArgumentParser) -> None:
    """Where the run is kept, its seed, and whether the report is opened."""
    parser.add_argument("--out", default="runs", help="folder of runs")
    parser.add_argument("--seed", type=int, default=0, help="seed of A and of the batches")
    text = "leave the report closed; without a display, in CI and with --json it is only named"
    parser.add_argument("--no-open", action="store_true", help=text)


def run_demo(args: argparse.Namespace) -> int:
    """Train, write the report, print the result, open the report where somebody can see it."""
    from pclora_lab.data.cache import DataCache
    from pclora_lab.training.parallel.launch import refuse_several_processes

    refuse_several_processes("the demo")
    cache = DataCache()
    finished = run_to_end(RunConfig(seed=args.seed), args.out, cache)
    result = dict(finished.result)
    report = _report(result["run_dir"], args.seed, cache)
    if report is not None:
        result["report"] = str(report)
    print_result(result, args.json)
    if report is not None and not args.no_open and not args.json:
        open_page(report)
    return 0


def _report(run: str, seed: int, cache: "DataCache") -> Path | None:
    """Its path; None, and a note, where it can't be written: the run has its result anyway."""
    from pclora_lab.plots.report import write_report

    command = "pclora-lab demo" + (f" --seed {seed}" if seed else "")
    try:
        return write_report(run, command=command, cache=cache)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        tell(f"note: the report can't be written ({explained(error)})")
        return None
