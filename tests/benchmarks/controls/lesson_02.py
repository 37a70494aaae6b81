"""Why does a hard switch of λ fail? What one changes at the switch, one thing at a time.

``python tests/benchmarks/controls/lesson_02.py --result data/results/lesson_02.json`` trains the
built-in model with the schedule ``identity`` up to the step before λ jumps from 1 to 0, then goes
on from there in ten ways: with the adapters as they are or drawn anew, with AdamW's moments kept,
cleared, or the first ones alone cleared, with the learning rate that is left or with one that
starts again, once four times as high. A second part takes a half-faded student apart.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pclora_lab import set_progress
from pclora_lab.data.cache import DataCache
from pclora_lab.json_files import write_json
from pclora_lab.methods.pclora.model import pclora_layers
from pclora_lab.methods.pclora.removal import base_removed
from pclora_lab.methods.registry import make_method
from pclora_lab.training.config import RunConfig
from pclora_lab.training.evaluation import accuracy
from pclora_lab.training.lambda_override import LambdaDriver, LambdaOverride
from pclora_lab.training.optimizer import make_optimizer, optimization_steps
from pclora_lab.training.setup import RunSetup, prepare

SEEDS, STEPS, LR = (0, 1, 2), 200, 2e-2
SWITCH, HALF = 120, 60
# Adapters, moments and learning rate after the switch; the first is the schedule as it is.
ARMS = {
    "as it is": ("kept", "kept", "left"),
    "rate restarted": ("kept", "kept", "restarted"),
    "rate restarted, 4 times as high": ("kept", "kept", "raised"),
    "moments cleared": ("kept", "cleared", "left"),
    "first moments cleared, rate restarted": ("kept", "first cleared", "restarted"),
    "moments cleared, rate restarted": ("kept", "cleared", "restarted"),
    "fresh adapters": ("fresh", "kept", "left"),
    "fresh adapters, rate restarted": ("fresh", "kept", "restarted"),
    "fresh adapters, moments cleared": ("fresh", "cleared", "left"),
    "fresh adapters, moments cleared, rate restarted": ("fresh", "cleared", "restarted"),
}


class Training(NamedTuple):
    """A student that is trained, and what its steps need."""

    setup: RunSetup
    student: nn.Module
    driver: LambdaDriver
    optimizer: torch.optim.AdamW
    draws: torch.Generator


def begin(schedule: str, seed: int, cache: DataCache) -> Training:
    """A student as a run with this seed makes it, before its first step."""
    config = RunConfig.from_dict(
        {
            "method": {"name": "pclora", "rank": 4, "init": "zeros", "schedule": schedule},
            **{"steps": STEPS, "lr": LR, "seed": seed, "device": "cpu", "precision": "float32"},
        }
    )
    method, draws = make_method(config.method), torch.Generator().manual_seed(seed)
    setup = prepare(config, method, cache, None)
    student = setup.make_student(draws)
    driver = LambdaDriver(method, student, STEPS, LambdaOverride())
    return Training(setup, student, driver, make_optimizer(student, config.weight_decay), draws)


def steps_of(training: Training, first: int = 0, rate: str = "left") -> Iterator[dict[str, Any]]:
    """Train from a step on; a rate that is not "left" rises and falls again over the steps left."""
    setup, student, driver, optimizer, draws = training
    shift = 0 if rate == "left" else first
    losses = setup.method.loss_terms(student, setup.model)
    rows = optimization_steps(
        student,
        lambda inputs, labels: losses(inputs, labels, driver.progress),
        setup.batches["train"],
        setup.config,
        setup.accelerator,
        steps=STEPS - shift,
        peak_lr=4 * LR if rate == "raised" else LR,
        logged=range(STEPS + 1),
        generator=draws,
        before_step=lambda step: driver.set_step(step + shift),
        optimizer=optimizer,
        first=first - shift,
    )
    try:
        yield from rows
    finally:
        losses.close()


def _train(training: Training, steps: int) -> None:
    with closing(steps_of(training)) as rows:
        for _ in islice(rows, steps):
            pass


def after_the_switch(seed: int, cache: DataCache) -> list[dict[str, Any]]:
    """Every arm from the same student and the same moments."""
    training, rows = begin("identity", seed, cache), []
    setup, student, _, optimizer, draws = training
    start = draws.get_state()
    _train(training, SWITCH)
    weights = {name: p.detach().clone() for name, p in _trained(student).items()}
    moments = optimizer.state_dict()
    moments["state"] = {
        k: {n: v.clone() for n, v in s.items()} for k, s in moments["state"].items()
    }
    for label, (adapters, kind, rate) in ARMS.items():
        _put(student, weights, fresh=adapters == "fresh", seed=seed)
        after = training._replace(
            optimizer=_optimizer(training, moments, kind),
            draws=torch.Generator().manual_seed(seed),
        )
        after.draws.set_state(start)
        sizes = list(_update_sizes(after, rate))
        score = accuracy(student, setup.batches["test"])
        rows.append({"label": label, "seed": seed, "accuracy": score, "update_sizes": sizes})
        print(label, seed, f"{score:.3f}", sizes[:3], file=sys.stderr, flush=True)
    return rows


def _trained(student: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in student.named_parameters() if p.requires_grad}


@torch.no_grad()
def _put(student: nn.Module, weights: dict[str, Tensor], *, fresh: bool, seed: int) -> None:
    """The weights at the switch; fresh adapters are drawn anew, the head stays as it was."""
    for name, parameter in _trained(student).items():
        parameter.copy_(weights[name])
    draws = torch.Generator().manual_seed(1000 + seed)
    for layer in pclora_layers(student).values() if fresh else ():
        layer._draw_A(draws)
        layer.B.zero_()
        layer.C.zero_()


def _optimizer(training: Training, moments: dict[str, Any], kind: str) -> torch.optim.AdamW:
    optimizer = make_optimizer(training.student, training.setup.config.weight_decay)
    if kind == "cleared":
        return optimizer
    optimizer.load_state_dict(moments)
    for parameter, state in optimizer.state.items():
        # Loaded tensors may be the saved ones themselves.
        optimizer.state[parameter] = {name: value.clone() for name, value in state.items()}
        if kind == "first cleared":
            optimizer.state[parameter]["exp_avg"].zero_()
    return optimizer


def _update_sizes(training: Training, rate: str) -> Iterator[float]:
    """How far the adapters' B move in a step, as a multiple of the learning rate (RMS)."""
    B = [layer.B for layer in pclora_layers(training.student).values()]
    before = torch.cat([b.detach().flatten() for b in B])
    for row in steps_of(training, SWITCH, rate):
        now = torch.cat([b.detach().flatten() for b in B])
        # The last step of a cosine has a rate of nearly zero: no ratio is formed with it.
        yield round(((now - before).square().mean().sqrt() / max(row["lr"], 1e-9)).item(), 3)
        before = now.clone()


def half_faded(seed: int, cache: DataCache) -> dict[str, Any]:
    """A student at λ = ½ as it is, its adapters alone, and the base alone at that λ."""
    training = begin("linear", seed, cache)
    student, test = training.student, training.setup.batches["test"]
    _train(training, HALF)
    row = {"seed": seed, "lam": set_progress(student, HALF / STEPS)}
    row["together"] = accuracy(student, test)
    with base_removed(student):
        row["adapters alone"] = accuracy(student, test)
    with torch.no_grad():
        for layer in pclora_layers(student).values():
            layer.B.zero_()
            layer.C.zero_()
    row["base alone"] = accuracy(student, test)
    print(row, file=sys.stderr, flush=True)
    return row


def summarize(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Accuracies by arm."""
    table = {}
    for label in ARMS:
        values = [row["accuracy"] for row in rows if row["label"] == label]
        spread = {
            "accuracy_mean": statistics.mean(values),
            "accuracy_std": statistics.stdev(values),
        }
        table[label] = {**spread, "seeds": len(values)}
    return table


def main() -> None:
    """Run both parts, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path, required=True)
    result, cache = parser.parse_args().result, DataCache()
    rows = [row for seed in SEEDS for row in after_the_switch(seed, cache)]
    half = [half_faded(seed, cache) for seed in SEEDS]
    command = "python tests/benchmarks/controls/lesson_02.py --result data/results/"
    record = {
        "command": command + result.name,
        "hardware": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
        "steps": STEPS,
        "switch": SWITCH,
        "lr": LR,
        "summary": summarize(rows),
        "rows": rows,
        "half_faded": half,
    }
    write_json(result, record)


if __name__ == "__main__":
    main()
