"""How much longer is a whole run than its training steps?

``python tests/benchmarks/whole_run.py --model local-dir:FOLDER --data FOLDER --img-size 64`` trains
once with a kept teacher, and divides the time from the first event to the last (data, start,
measurements, final split) by that of the steps alone, as the rows of the history have it.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import torch

from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, PhaseStart, RunEnd
from pclora_lab.training.loop import train
from pclora_lab.training.measuring_plan import log_every


def timed(config: RunConfig, root: Path) -> dict[str, float]:
    """Seconds of each phase, of the steps alone, and of all."""
    marks, steps, rows = [("begin", time.perf_counter())], 0.0, []
    for event in train(config, root):
        if isinstance(event, PhaseStart):
            marks.append((event.name, time.perf_counter()))
        if isinstance(event, LogRow) and event.values["phase"] == "fade":
            rows.append(event.values)
        if isinstance(event, RunEnd):
            marks.append(("end", time.perf_counter()))
    for before, row in pairwise(rows):
        steps += (row["step"] - before["step"]) * (row["step_ms"] or 0) / 1000
    phases: dict[str, float] = defaultdict(float)
    for (name, began), (_, ended) in pairwise(marks):
        phases[name] += ended - began
    whole = marks[-1][1] - marks[0][1]
    read = [row["step"] for row in rows if row["accuracy"] is not None]
    facts = {"readings": len(read), "examples": rows[0].get("examples") or 0}
    return {
        **phases,
        "steps": steps,
        "whole": whole,
        "ratio": whole / steps if steps else 0.0,
        **facts,
    }


def main() -> None:
    """Fine-tune a teacher, then time runs of several lengths that find it kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vit_digits")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--img-size", type=int)
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for steps in (1, *args.steps):  # the first fine-tunes the teacher
            config = RunConfig(
                model=args.model,
                data=args.data,
                img_size=args.img_size,
                steps=steps,
                teacher_steps=10,
                precision=args.precision,
                device="cpu",
            )
            found[steps] = timed(config, Path(folder))
            told = {name: round(value, 2) for name, value in found[steps].items()}
            print(steps, f"a row every {log_every(steps)}", told, file=sys.stderr)
    if args.result:
        hardware = f"{os.cpu_count()} {platform.machine()} cores, torch {torch.__version__}"
        command = "python tests/benchmarks/whole_run.py " + " ".join(sys.argv[1:])
        record = {"command": command, "hardware": hardware, "runs": found}
        args.result.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
