"""Tiny runs on the CPU and on a pretended device: what is left there, what they waited for."""

import collections
import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import tiny_hf
import tiny_runs
from device_ledger import LEDGER

from pclora_lab.data import images
from pclora_lab.data.cache import DataCache
from pclora_lab.quiet import quiet
from pclora_lab.training import measuring_plan
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import LogRow, RunEnd, StepEnd
from pclora_lab.training.loop import train

TIMES = {"seconds", "step_ms", "memory_mb", "probe_percent"}
STEPS = 4
CACHE = DataCache()


def config(folder: Path, method: str, kind: str = "pictures", **changes: Any) -> RunConfig:
    """Of the smallest run of a method; models and data are written into the folder once."""
    if not (folder / "texts.csv").exists():
        tiny_runs.write_data(folder)
        rows = (f"w{5 + n % 3} w{8 + n} w9,{'abc'[n % 3]}" for n in range(48))  # of one length
        (folder / "texts.csv").write_text("\n".join(["text,label", *rows]))
        with quiet():
            tiny_hf.write_model(folder / "pictures_model", "vit")
            tiny_hf.write_model(folder / "texts_model", "bert")
    values = json.loads(tiny_runs.write_config(folder, method, kind).read_text())
    values |= {"teacher": "pretrained", "precision": "float32", "steps": STEPS}
    if method == "snella":  # a competition between the layers reads their scores
        values["method"]["allocations"] = 1
    if method == "small":  # builds models that it knows by name
        values["method"] = {"name": "small", "width": 24}
    else:
        values["model"] = str(folder / f"{kind}_model")
    return replace(RunConfig.from_dict(values), **changes)


@dataclass(frozen=True)
class Ran:
    """One run.

    Attributes:
        rows: of its history, without times.
        end: its last event.
        waits: of the host in the two steps before the last, by what and where.
        held: bytes on the device after the second step.
        left: bytes that are there after the run and were not before.
    """

    rows: list[dict[str, Any]]
    end: RunEnd
    waits: dict[str, int]
    held: int
    left: int


@contextmanager
def logged_at_the_end() -> Iterator[None]:
    """Only the last step of a run is logged."""
    with mock.patch.object(measuring_plan, "_LOG_ROWS", 1):
        yield


def ran(config: RunConfig, root: Path, **more: Any) -> Ran:
    """Run to the end, wherever the config says."""
    before, held = _held(0), 0
    waits: collections.Counter = collections.Counter()
    rows, ends = [], []
    with logged_at_the_end():
        for event in train(config, root, cache=CACHE, **more):
            if isinstance(event, StepEnd) and event.phase == "fade":
                waits += LEDGER.waits if 1 < event.step < config.steps else collections.Counter()
                held = LEDGER.held if event.step == 2 else held
                LEDGER.reset()
            if isinstance(event, LogRow):
                rows.append({k: v for k, v in event.values.items() if k not in TIMES})
            ends += [event] if isinstance(event, RunEnd) else []
    named = {f"{what} at {line}": count for (what, line), count in waits.items()}
    del event
    return Ran(rows, ends[0], named, held, _held(before) - before)


def _held(before: int) -> int:
    images._in_bytes.cache_clear()
    if LEDGER.held > before:  # collecting takes longer than a run
        gc.collect()
    return LEDGER.held
