"""Eight processes that start the same run in one folder of runs and need one teacher."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from child import Child, command_line
from kills import reference
from outcome import Outcome, run_folders, said
from tiny_runs import KINDS, METHODS, facts

__all__ = ["crowds"]

_PROCESSES = 8
_LONGEST = 600.0


def crowds(folder: Path, number: int, seed: int) -> Iterator[Outcome]:
    """Every process finishes a run of its own; the teacher is fine-tuned once.

    Args:
        folder: to work in; holds the data.
        number: of crowds, each of another method.
        seed: with which method the first begins.
    """
    pairs = [(m, k) for m in METHODS for k in KINDS if m not in ("small", "lora", "snella", "full")]
    for trial in range(number):
        method, kind = pairs[(seed + trial) % len(pairs)]
        ref, place = reference(folder, method, kind), folder / "trial"
        place.mkdir()
        work = command_line("train", "--config", ref.config, "--out", "runs")
        children = [Child(work, place, f"child{n}") for n in range(_PROCESSES)]
        for ended in [child.end(_LONGEST) for child in children]:
            verdict = {None: "hung", 0: "kept"}.get(ended.code, "lost")
            verdict = "traceback" if ended.has_traceback else verdict
            yield Outcome("crowds", f"{trial}: {method}/{kind}", verdict, said(ended))
        runs = run_folders(place / "runs")
        wrong = [run.name for run in runs if facts(run) != ref.facts]
        teachers = [p for p in (place / "runs" / "teachers").iterdir() if p.is_dir()]
        tuned = sum("teacher: 100%" in child.err() for child in children)
        problem = ""
        if len(runs) != _PROCESSES or wrong:
            problem = f"{len(runs)} runs, of which {wrong} differ"
        elif len(teachers) != 1 or tuned > 1:
            problem = f"{len(teachers)} teachers kept, fine-tuned by {tuned} processes"
        what = f"{trial}: {method}/{kind}, all together"
        yield Outcome("crowds", what, "different" if problem else "kept", problem)
        shutil.rmtree(place)
        shutil.rmtree(folder / f"{method}_{kind}")
