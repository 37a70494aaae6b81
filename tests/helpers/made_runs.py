"""A folder with a few short real runs, and some that are broken."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pclora_lab.data.cache import DataCache
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.recorder import RunRecorder
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import Event, PhaseStart
from pclora_lab.training.loop import train

QUICK = {"steps": 8, "evaluations": 2, "eval_images": 40}
RANKS = {"rank2": 2, "rank6": 6, "<b>bold<br>&amp; <img src=x onerror=alert(1)>": 10}


def make_runs(root: Path) -> list[str]:
    """Trains one run per name in :data:`RANKS`; returns the names, oldest first."""
    cache = DataCache()
    for age, (name, rank) in enumerate(RANKS.items()):
        config = RunConfig(method=PCLoRAConfig(rank=rank, init="svd"), seed=age, **QUICK)
        folder = new_run_folder(root, config, name=name)
        with closing(RunRecorder(folder).record(train(config, root, cache=cache))) as events:
            list(events)
        stamp = 1_750_000_000 + 60 * age
        os.utime(folder / "status.json", (stamp, stamp))
    return list(RANKS)


def break_some(root: Path) -> dict[str, str]:
    """Adds unreadable and foreign folders; returns a part of each reason by name."""
    for name in ("broken", "other_version", "odd_values"):
        new_run_folder(root, RunConfig(**QUICK), name=name)
    (root / "broken" / "config.json").write_text('{"model": ')
    config = json.loads((root / "other_version" / "config.json").read_text())
    (root / "other_version" / "config.json").write_text(json.dumps({**config, "quantum": 1}))
    odd = {"model": 3, "data": [], "method": ["x"], "seed": "7", "steps": {"a": 1}}
    (root / "odd_values" / "config.json").write_text(json.dumps(odd))
    (root / "odd_values" / "result.json").write_text('{"accuracy": NaN, "params_after": null}')
    history = (
        '{"step": 1}\n{"phase": "fade", "step": "x", "lam": []}\n{"phase": 3, "step": 1e999}\n'
    )
    (root / "odd_values" / "history.jsonl").write_text(history)
    for name in ("other_version", "odd_values"):
        (root / name / "status.json").write_text('{"status": "stopped"}')
    (root / "loop").symlink_to("loop")
    (root / "teachers").mkdir()
    return {"broken": "config.json can't be read", "loop": "no run: there is no"}


@contextmanager
def being_written(folder: Path) -> Iterator[None]:
    """Another thread records into the folder, as a session does."""
    begun, over = threading.Event(), threading.Event()

    def events() -> Iterator[Event]:
        begun.set()
        over.wait(60)
        yield PhaseStart("fade", 1)

    writer = threading.Thread(target=lambda: list(RunRecorder(folder).record(events())))
    writer.start()
    begun.wait(60)
    try:
        yield
    finally:
        over.set()
        writer.join()
