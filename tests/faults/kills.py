"""Runs that are killed at random, and taken up: KILL, TERM, HUP, INT, and a kill of the resume."""

import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from child import Child, Ended, command_line
from outcome import Outcome, run_folders, said, take_up
from tiny_runs import KINDS, METHODS, facts, hurry, write_config

__all__ = ["Reference", "kills", "reference"]

PHASES = ("data", "teacher", "start", "fade", "test")
SIGNALS = {
    "KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "HUP": signal.SIGHUP, "INT": signal.SIGINT,
}  # fmt: skip
_EXITS = {"TERM": (143, -15), "HUP": (129, -1), "INT": (130, -2)}
_LONGEST_END = 20.0


@dataclass(frozen=True)
class Reference:
    """An undisturbed run.

    Attributes:
        config: its file.
        facts: what another run of it must share.
        phases: seconds of every phase.
    """

    config: Path
    facts: dict[str, Any]
    phases: dict[str, float]


def reference(folder: Path, method: str, kind: str) -> Reference:
    """Run a config undisturbed and time its phases.

    Raises:
        RuntimeError: it does not finish.
    """
    config = write_config(folder, method, kind)
    place = folder / f"{method}_{kind}"
    place.mkdir()
    child = Child(_train(config), place)
    starts: dict[str, float] = {"": time.monotonic()}
    while not child.wait(0.02):
        starts.setdefault(_phase(child), time.monotonic())
    ended, now = child.end(), time.monotonic()
    if ended.code != 0:
        raise RuntimeError(f"{method} with {kind} does not finish: {ended.err}")
    moments = [*starts.values(), now]
    lengths = dict(zip(starts, (b - a for a, b in zip(moments, moments[1:], strict=False)),
                       strict=False))  # fmt: skip
    return Reference(config, facts(run_folders(place / "runs")[0]), lengths)


def _train(config: Path) -> Any:
    return hurry(command_line("train", "--config", config, "--out", "runs"))


def _phase(child: Child) -> str:
    """The last phase that the progress bar has named."""
    text = child.err()
    places = {phase: text.rfind(f"{phase}:") for phase in PHASES}
    last = max(places, key=lambda phase: places[phase])
    return last if places[last] >= 0 else ""


def kills(folder: Path, number: int, seed: int, only: str | None = None) -> Iterator[Outcome]:
    """Kill and take up.

    Args:
        folder: to work in; holds the data.
        number: of kills.
        seed: draws the moment, the signal and which resumes are killed too.
        only: one method, with pictures.
    """
    draw = random.Random(seed)
    pairs = [(m, k) for m in METHODS for k in KINDS if (m, k) != ("small", "texts")]
    pairs = [(only, "pictures")] if only else pairs
    known: dict[tuple[str, str], Reference] = {}
    for trial in range(number):
        pair = pairs[trial % len(pairs)]
        if pair not in known:
            known[pair] = reference(folder, *pair)
        place = folder / "trial"
        yield _kill(place, pair, known[pair], draw, trial)
        shutil.rmtree(place)


def _kill(
    place: Path, pair: tuple[str, str], ref: Reference, draw: random.Random, trial: int
) -> Outcome:
    place.mkdir()
    phase, share = PHASES[draw.randrange(len(PHASES))], draw.random()
    name = draw.choice(["KILL", "KILL", "TERM", "HUP", "INT"])
    what = f"{trial}: {'/'.join(pair)} {name} in {phase} at {share:.2f}"
    ended = _strike(Child(_train(ref.config), place), ref, phase, share, SIGNALS[name])
    problem = _bad_end(ended, name)
    if problem:
        return Outcome("kills", what, problem, said(ended))
    if draw.random() < 0.3 and (runs := run_folders(place / "runs")):
        phase, share = PHASES[draw.randrange(1, len(PHASES))], draw.random()
        what += f", resume killed in {phase} at {share:.2f}"
        again = Child(hurry(command_line("resume", runs[0])), place, "resume")
        _strike(again, ref, phase, share, signal.SIGKILL)
    return take_up("kills", what, place, ref.config, ref.facts)


def _strike(child: Child, ref: Reference, phase: str, share: float, number: int) -> Ended:
    """Send a signal a part of the phase's time after the phase has begun."""
    order = ("", *PHASES)
    while not child.wait(0.02) and order.index(_phase(child)) < order.index(phase):
        pass
    if not child.wait(share * ref.phases.get(phase, 0.0)):
        child.send(number)
    return child.end(_LONGEST_END)


def _bad_end(ended: Ended, name: str) -> str:
    if ended.code is None:
        return "hung"
    if ended.has_traceback:
        return "traceback"
    if name in _EXITS and ended.code not in (0, *_EXITS[name]):
        return "unclear"
    return ""
