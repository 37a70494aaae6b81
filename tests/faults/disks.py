"""Runs on a disk that fails, fills up, or whose process ends at one operation; and their end."""

import errno
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from child import Child, Ended, command_line
from disk import Fault, operations, with_fault
from kills import Reference, reference
from outcome import Outcome, is_unclear, said, take_up, unreadable
from tiny_runs import hurry

__all__ = ["Part", "crash_points", "disk_faults", "full_disks"]

_METHODS = (("pclora", "pictures"), ("svd", "texts"), ("small", "pictures"))
_ERRORS = {"ENOSPC": errno.ENOSPC, "EACCES": errno.EACCES, "EIO": errno.EIO}
_SIZES = 14
_CURE = ("disk", "space", "room", "permission", "written", "write", "folder", "No space", "device")


class Part(NamedTuple):
    """Which trials a process takes of those that all processes draw: every one of so many."""

    number: int
    parts: int

    def of(self, drawn: list[Any]) -> list[Any]:
        """This part's own."""
        return drawn[self.number :: self.parts]


def _train(ref: Reference, place: Path, fault: Fault, log: Path | None = None) -> Ended:
    place.mkdir()
    work = hurry(command_line("train", "--config", ref.config, "--out", "runs"))
    return Child(with_fault(work, fault, place / "runs", log), place).end()


def _counted(folder: Path, only: bool) -> Iterator[tuple[str, Reference, list[str]]]:
    for method, kind in _METHODS[:1] if only else _METHODS:
        ref = reference(folder, method, kind)
        place, log = folder / "count", folder / f"{method}.log"
        _train(ref, place, Fault(), log)
        shutil.rmtree(place)
        yield f"{method}/{kind}", ref, operations(log)


def crash_points(
    folder: Path, number: int, seed: int, part: Part, *, only: bool
) -> Iterator[Outcome]:
    """End the process before and after operations of a run, and take it up.

    Args:
        folder: to work in; holds the data.
        number: of points; all where there are fewer.
        seed: draws them.
        part: of them that is tried here.
        only: one method.
    """
    draw = random.Random(seed)
    for name, ref, done in _counted(folder, only):
        points = [(n, when) for n in range(1, len(done) + 1) for when in ("before", "after")]
        share = number if only else -(-number // len(_METHODS))
        for n, when in part.of(sorted(draw.sample(points, min(share, len(points))))):
            fault = Fault(kill_before=n) if when == "before" else Fault(kill_after=n)
            place = folder / "trial"
            ended = _train(ref, place, fault)
            what = f"{name}: {when} {n} of {len(done)} ({done[n - 1]})"
            if ended.code == -9:
                yield take_up("crash points", what, place, ref.config, ref.facts)
            else:
                yield Outcome("crash points", what, "unclear", f"not killed: {said(ended)}")
            shutil.rmtree(place)


def disk_faults(
    folder: Path, number: int, seed: int, part: Part, *, only: bool
) -> Iterator[Outcome]:
    """Let one operation of a run, or all from one on, fail; then repair the disk and take it up."""
    draw = random.Random(seed)
    for name, ref, done in _counted(folder, only):
        points = [(n, e, way) for n in range(1, len(done) + 1) for e in _ERRORS
                  for way in ("once", "from")]  # fmt: skip
        share = number if only else -(-number // len(_METHODS))
        for n, error, way in part.of(sorted(draw.sample(points, min(share, len(points))))):
            fault = Fault(first=n, last=n if way == "once" else 2**31, error=_ERRORS[error])
            what = f"{name}: {error} {way} {n} of {len(done)} ({done[n - 1]})"
            yield _failed("disk faults", what, folder / "trial", ref, fault)


def full_disks(
    folder: Path, number: int, seed: int, part: Part, *, only: bool
) -> Iterator[Outcome]:
    """Run on disks of several sizes, all of them too small or nearly so."""
    for name, ref, _ in _counted(folder, only):
        place = folder / f"{ref.config.stem}" / "runs"
        needed = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        sizes = range(0, _SIZES, 1 if not only else max(1, _SIZES // number))
        for step in part.of(list(sizes)):
            size = int(needed * 1.3 * step / _SIZES)
            what = f"{name}: a disk of {size:,} bytes of {needed:,}"
            yield _failed("full disks", what, folder / "trial", ref, Fault(room=size))


def _failed(kind: str, what: str, place: Path, ref: Reference, fault: Fault) -> Outcome:
    ended = _train(ref, place, fault)
    try:
        if ended.code is None:
            return Outcome(kind, what, "hung", said(ended))
        if ended.has_traceback:
            return Outcome(kind, what, "traceback", ended.err[-400:])
        if problem := unreadable(place / "runs"):
            return Outcome(kind, what, "unreadable", problem)
        if ended.code != 0 and (is_unclear(ended.message) or not _names_disk(ended.message)):
            return Outcome(kind, what, "unclear", said(ended))
        return take_up(kind, what, place, ref.config, ref.facts)
    finally:
        shutil.rmtree(place)


def _names_disk(message: str) -> bool:
    return any(word in message for word in _CURE)
