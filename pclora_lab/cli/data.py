"""``pclora-lab data``: what is in a data set, and what a run would leave out of it."""

import argparse
from typing import Any

import numpy as np

from pclora_lab.cli.flags import add_run_flags, run_from_flags
from pclora_lab.data.splits import LabeledData, Split
from pclora_lab.data.targets.summary import number_ranges, target_counts
from pclora_lab.fields import Part, options_of
from pclora_lab.json_files import to_json
from pclora_lab.training.config import RunConfig

__all__ = ["add_data_flags", "run_data"]

_MOST_CLASSES = 50


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """The data set, and the settings that determine how it is read."""
    parser.add_argument("data", help=options_of(RunConfig)["data"].help)
    names = [n for n, o in options_of(RunConfig).items() if Part.DATA in o.parts and n != "data"]
    add_run_flags(parser, RunConfig(), only=[*names, "task"])


def run_data(args: argparse.Namespace) -> int:
    """Print the account, the splits and the classes; returns 0."""
    from pclora_lab.data.cache import DataCache
    from pclora_lab.tasks.guessing import guessed_because, task_and_data

    config = run_from_flags(args, RunConfig(model="", data=args.data))  # no model has a say here
    task, data = task_and_data(config, DataCache())
    print(data.summary())
    print(guessed_because(task) if config.task is None else f"task: {task.title}")
    for line in data.account.lines() if data.account else []:
        print(line)
    for note in data.notes:
        print(f"note: {note}")
    _print_classes(data)
    if args.json:
        print(to_json({"task": task.name, **_facts(data)}, missing_as_null=True))
    return 0


def _counts(data: LabeledData) -> dict[str, list[int]]:
    """Examples of every class, by split; of masks, their pixels, and of tags, their words."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: _count(split, data).tolist() for name, split in splits.items()}


def _count(split: Split, data: LabeledData) -> np.ndarray:
    classes = data.num_classes
    if data.targets:
        return target_counts(split, data.targets, classes)
    if split.masks is None:
        return np.bincount(split.labels, minlength=classes)
    counts = np.zeros(classes, dtype=np.int64)
    for mask in split.masks:
        counts += np.bincount(np.asarray(mask).ravel(), minlength=256)[:classes]
    return counts


_HEADS = {"labels": "label", "tags": "tag of words"}


def _print_numbers(data: LabeledData) -> None:
    for split, targets in number_ranges(data).items():
        for name, (low, mean, high) in targets.items():
            print(f"{split:10} {_one_line(name, 40)}: {low:g} to {high:g}, mean {mean:g}")


def _print_classes(data: LabeledData) -> None:
    if data.targets == "numbers":
        return _print_numbers(data)
    counts = _counts(data)
    shown = data.class_names[:_MOST_CLASSES]
    head = "class of pixels" if data.has_masks else _HEADS.get(data.targets, "class")
    width = min(40, max(map(len, (*shown, head))))
    print(f"{head:{width}} " + " ".join(f"{name:>10}" for name in counts))
    for number, name in enumerate(shown):
        numbers = " ".join(f"{split[number]:10,}" for split in counts.values())
        print(f"{_one_line(name, width):{width}} {numbers}")
    if len(shown) < data.num_classes:
        print(f"… and {data.num_classes - len(shown)} more classes")


def _one_line(name: str, width: int) -> str:
    plain = "".join(c if c.isprintable() else " " for c in name)
    return plain if len(plain) <= width else plain[: width - 1] + "…"


def _facts(data: LabeledData) -> dict[str, Any]:
    return {
        "data": data.name,
        "kind": data.kind,
        "columns": list(data.content),
        "class_names": list(data.class_names),
        "examples": number_ranges(data) if data.targets == "numbers" else _counts(data),
        "account": data.account.to_dict() if data.account else None,
        "notes": list(data.notes),
    }
