"""A run on the command line: a bar on stderr while it goes on, its result on stdout."""

import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pclora_lab.cli.signals import Stopped, StopRequest, stop_requests
from pclora_lab.cli.terminal import lasting, process_number, tell
from pclora_lab.files import short_path
from pclora_lab.json_files import to_json
from pclora_lab.tasks.registry import TASKS
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import Event, LogRow, PhaseStart, RunEnd, StepEnd, TaskGuessed

if TYPE_CHECKING:
    from pclora_lab.data.cache import DataCache

__all__ = ["print_end", "print_result", "progress_bar", "run_to_end", "watch_to_end"]


def run_to_end(config: RunConfig, root: str | Path, cache: "DataCache | None" = None) -> RunEnd:
    """Run with a progress bar on stderr; returns the :class:`RunEnd` event.

    Args:
        config: what to do.
        root: folder of runs.
        cache: data that several runs share.
    """
    from pclora_lab.runs.execution import execute

    with stop_requests() as request:
        return _watch(execute(config, root, cache=cache), request)


def watch_to_end(events: Iterator[Event]) -> RunEnd:
    """Draw a progress bar on stderr while a run goes on; returns the :class:`RunEnd` event.

    Raises:
        Stopped: a signal has asked for that; a run that can be taken up has its checkpoint.
    """
    with stop_requests() as request:
        return _watch(events, request)


def _watch(events: Iterator[Event], request: StopRequest) -> RunEnd:
    bar = progress_bar()
    try:
        with closing(bar), closing(_all_of(events)) as going:
            for event in going:
                _draw(bar, event)
                if isinstance(event, RunEnd):
                    return event
                request.check(event)
    except Stopped as stopped:
        folder = getattr(events, "folder", None)
        stopped.run = None if folder is None else short_path(folder)
        raise
    raise RuntimeError("the run ended without a result")


def progress_bar() -> Any:
    """An empty bar on stderr; a terminal that is gone ends nothing.

    Of several processes of one run only the first draws one.
    """
    from tqdm import tqdm

    is_silent = process_number() > 0
    return tqdm(file=lasting(sys.stderr), unit="step", dynamic_ncols=True, disable=is_silent)


def _draw(bar: Any, event: Event) -> None:
    match event:
        case TaskGuessed(_, because) if not process_number():
            bar.clear()
            tell(because)
        case PhaseStart(name, steps):
            bar.set_description(name)
            bar.reset()
            bar.total = steps or None
        case StepEnd(_, step, _):
            if not bar.n:  # a run that is taken up has done its first steps before
                bar.n = bar.initial = bar.last_print_n = step - 1
            bar.update(step - bar.n)
        case LogRow(values):
            if facts := _bar_facts(values):
                bar.set_postfix(facts)


def _all_of(events: Iterator[Event]) -> Generator[Event, None, None]:
    """The same, with a ``close`` that reaches the run."""
    yield from events


def _bar_facts(values: Mapping[str, Any]) -> dict[str, str]:
    """What a row says that was measured; nothing for one between two readings."""
    rankings = (task.ranking for task in TASKS.values())
    metric = next((m for m in rankings if values.get(m.key) is not None), None)
    if metric is None:
        return {}
    facts = {"λ": values.get("lam"), metric.label: values[metric.key]}
    facts["if removed"] = values.get(metric.if_base_removed)
    return {name: f"{value:.3f}" for name, value in facts.items() if value is not None}


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """The table of results; JSON in the last line if asked."""
    from pclora_lab.runs.summary import result_table

    print(result_table(result))
    if as_json:
        print(to_json(result, missing_as_null=True))


def print_end(finished: RunEnd, as_json: bool) -> None:
    """Notes on stderr, then the result; of several processes the first says it."""
    if process_number():
        return
    for note in finished.result["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print_result(finished.result, as_json)
