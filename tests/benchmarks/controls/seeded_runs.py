"""Settings that are run with the same seeds: what the controls of lessons need.

No script of its own; ``lesson_06.py``, ``lesson_08.py`` and ``open_exercises.py`` use it.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import ImageOps

from pclora_lab.data.cache import DataCache
from pclora_lab.data.loading import load_data
from pclora_lab.json_files import write_json
from pclora_lab.training.config import RunConfig
from pclora_lab.training.events import RunEnd
from pclora_lab.training.loop import train

SEEDS = (0, 1, 2)
KEPT = ("accuracy", "teacher_accuracy", "params_before", "params_after")


def arguments(description: str, out: str) -> argparse.Namespace:
    """Where the runs are kept and where the record goes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--result", type=Path, required=True)
    return parser.parse_args()


def inverted_digits(folder: Path) -> str:
    """The built-in digits as dark ink on white paper, a file each in ``split/class/``."""
    digits = load_data("digits")
    for split in ("train", "validation", "test"):
        part = getattr(digits, split)
        for i, (image, label) in enumerate(zip(part.examples, part.labels, strict=True)):
            place = folder / split / str(label)
            place.mkdir(parents=True, exist_ok=True)
            ImageOps.invert(image).save(place / f"{i}.png")
    return str(folder)


def seeded_rows(
    out: Path,
    base: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]],
    seeds: Iterable[int] = SEEDS,
) -> list[dict[str, Any]]:
    """A row for every setting and seed."""
    cache = DataCache()
    return [_row(out, base, label, settings[label], s, cache) for label in settings for s in seeds]


def _row(
    out: Path,
    base: Mapping[str, Any],
    label: str,
    method: Mapping[str, Any],
    seed: int,
    cache: DataCache,
) -> dict[str, Any]:
    config = RunConfig.from_dict({**base, "method": method, "seed": seed})
    result: dict[str, Any] = {}
    for event in train(config, out, cache=cache):
        if isinstance(event, RunEnd):
            result = dict(event.result)
    print(label, seed, f"{result['accuracy']:.3f}", file=sys.stderr, flush=True)
    facts = {"label": label, "seed": seed, "lr": config.lr}
    return {**facts, **{key: result[key] for key in KEPT}}


def save(
    result: Path,
    base: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]],
    rows: list[dict[str, Any]],
    **more: Any,
) -> None:
    """Write the record, with the command that made it and whatever else there is to tell."""
    script = f"tests/benchmarks/controls/{Path(sys.argv[0]).name}"
    record = {
        "command": f"python {script} --result data/results/{result.name}",
        "hardware": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
        "base": base,
        "methods": settings,
        **more,
        "rows": rows,
    }
    write_json(result, record)
