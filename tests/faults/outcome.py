"""What became of a run that something went wrong with, and the counts of all of them."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from child import Child, Ended, command_line
from tiny_runs import facts, hurry

__all__ = ["Outcome", "count", "run_folders", "take_up"]

# The worst first: a trial counts once.
VERDICTS = ("unreadable", "lost", "different", "traceback", "hung", "unclear", "harmed")
_MOST_ATTEMPTS = 3
# Words that say where an error of another library came from, not what a person can do.
_FOREIGN = re.compile(
    r"\b(NoneType|object has no attribute|subscriptable|not iterable|Errno|RuntimeError: |"
    r"SafetensorError|KeyError|AttributeError|AssertionError|core dumped)\b"
)


@dataclass(frozen=True)
class Outcome:
    """One trial.

    Attributes:
        kind: of fault, as the result lists it.
        what: enough to make it again.
        verdict: a word of :data:`VERDICTS`, or "kept" where all was as it should be.
        detail: what was seen.
    """

    kind: str
    what: str
    verdict: str = "kept"
    detail: str = ""


def count(outcomes: Iterable[Outcome]) -> dict[str, dict[str, Any]]:
    """For each kind: how many were tried, how many were of each verdict, and examples."""
    kinds: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        kinds.setdefault(outcome.kind, []).append(outcome)
    return {kind: _counted(found) for kind, found in sorted(kinds.items())}


def _counted(found: list[Outcome]) -> dict[str, Any]:
    numbers = Counter(outcome.verdict for outcome in found)
    wrong = [o for o in found if o.verdict != "kept"]
    examples = [f"{o.what}: {o.verdict}: {o.detail}"[:400] for o in wrong[:12]]
    verdicts = {verdict: numbers[verdict] for verdict in VERDICTS}
    return {"tried": len(found), **verdicts, "examples": examples}


def run_folders(root: Path) -> list[Path]:
    """The folders among runs that may be runs."""
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and p.name != "teachers")


def take_up(kind: str, what: str, folder: Path, config: Path, expected: dict[str, Any]) -> Outcome:
    """Go on with a run as its messages say, and compare its end with that of an undisturbed run.

    Args:
        kind: of the fault.
        what: the fault.
        folder: where the command line works; runs are in ``folder/runs``.
        config: of the run.
        expected: :func:`facts` of an undisturbed run.
    """
    problem = unreadable(folder / "runs")
    if problem:
        return Outcome(kind, what, "unreadable", problem)
    begun = [p for p in run_folders(folder / "runs") if (p / "config.json").is_file()]
    if not begun:  # nothing was promised yet: it is started again
        again = _start_again(folder, config)
        if again.code != 0:
            return Outcome(kind, what, "lost", f"can't be started again: {said(again)}")
        begun = [p for p in run_folders(folder / "runs") if (p / "config.json").is_file()]
    run = begun[0]
    said_last = ""
    for _ in range(_MOST_ATTEMPTS):
        if _is_finished(run):
            break
        ended = Child(hurry(command_line("resume", run)), folder, "resume").end()
        said_last = said(ended)
        if ended.code is None:
            return Outcome(kind, what, "hung", said_last)
        if ended.has_traceback:
            return Outcome(kind, what, "traceback", ended.err[-300:])
    if not _is_finished(run):
        return Outcome(kind, what, "lost", said_last)
    if _left_behind(run):  # killed after its result: resume removes what it left, and says so
        Child(hurry(command_line("resume", run)), folder, "resume").end()
    return _compared(kind, what, run, expected)


def _start_again(folder: Path, config: Path) -> Ended:
    work = hurry(command_line("train", "--config", config, "--out", "runs"))
    return Child(work, folder, "again").end()


def said(ended: Ended) -> str:
    """The end of what a person saw."""
    return f"exit {ended.code}: {ended.message or ended.err[-300:]}"[:600]


def is_unclear(message: str) -> bool:
    """Whether a message speaks of this program's inside and not of what a person gave."""
    return not message.strip() or len(message) > 1500 or bool(_FOREIGN.search(message))


def unreadable(root: Path) -> str:
    """Why the folder of runs can't be listed; empty where it can."""
    from pclora_lab.runs.reader import UnreadableRun, scan_runs

    try:
        entries = scan_runs(root)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
        return f"{type(error).__name__}: {error}"
    broken = [e for e in entries if isinstance(e, UnreadableRun)]
    # A folder that was made and nothing else: no run, and it says so.
    named = [e for e in broken if "no run" not in e.reason]
    return f"{named[0].folder.name}: {named[0].reason}" if named else ""


def _is_finished(run: Path) -> bool:
    from pclora_lab.runs.reader import load_run

    return load_run(run).status == "finished"


def _compared(kind: str, what: str, run: Path, expected: dict[str, Any]) -> Outcome:
    try:
        found = facts(run)
    except (OSError, ValueError) as error:
        return Outcome(kind, what, "lost", f"finished without its files: {error}")
    wrong = [key for key in expected if found[key] != expected[key]]
    if wrong:
        return Outcome(kind, what, "different", f"{wrong}: {_first_difference(found, expected)}")
    if left := _left_behind(run):
        return Outcome(kind, what, "harmed", f"left behind: {left}")
    return Outcome(kind, what)


def _left_behind(run: Path) -> list[str]:
    return [p.name for p in run.rglob("*") if p.name.endswith(".part") or "checkpoint" in p.name]


def _first_difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    if found["rows"] != expected["rows"]:
        pairs = zip(found["rows"], expected["rows"], strict=False)
        return next((f"{a} {b}" for a, b in pairs if a != b), "another number of rows")
    names = found["result"].keys() | expected["result"].keys()
    return str([n for n in names if found["result"].get(n) != expected["result"].get(n)])
