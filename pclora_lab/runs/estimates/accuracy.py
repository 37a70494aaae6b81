"""How accurate would a rank be? Finished runs are asked.

Sizes are arithmetic (:mod:`pclora_lab.nn.sizes`). How accurate a rank is nobody knows before a
training, so nothing is said about ranks outside of those that were run."""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pclora_lab.files import given_path
from pclora_lab.json_files import read_json
from pclora_lab.runs.durable.stored import read_result
from pclora_lab.runs.estimates.alike import comparable
from pclora_lab.training.config import RunConfig, upgrade_config

__all__ = ["AccuracyEstimate", "RankPoint", "accuracy_estimate", "rank_points"]

# What sets the size of the result; runs that are compared may differ in it.
_SIZES = ("rank", "budget", "ratio")


@dataclass(frozen=True)
class RankPoint:
    """Finished runs of one size.

    Attributes:
        rank: the one that all layers have; None where they differ.
        params: of the finished model.
        mean: accuracy, mean over the seeds.
        std: its sample standard deviation; None for one seed.
        seeds: how many there were.
    """

    rank: int | None
    params: int
    mean: float
    std: float | None
    seeds: int


class _Placed(NamedTuple):
    """Runs of one size on the axis of the estimate, which is the rank or the parameters."""

    at: int
    point: RankPoint


@dataclass(frozen=True)
class AccuracyEstimate:
    """What earlier runs let one expect.

    Attributes:
        rank: that was asked about; None for ranks by layer.
        mean: accuracy to expect; None where the runs can't say.
        std: its standard deviation over seeds; None where it is unknown.
        points: the runs behind it, by size.
        note: where the numbers come from, or why there are none.
    """

    rank: int | None
    mean: float | None
    std: float | None
    points: tuple[RankPoint, ...]
    note: str


def rank_points(runs: Path | str, config: RunConfig) -> tuple[RankPoint, ...]:
    """Finished runs that differ from a config in rank, budget and seed only; by size.

    Args:
        runs: folder of runs; what is not a finished run in it is passed over.
        config: what the runs are compared with.
    """
    groups: dict[tuple[int | None, int], dict[int, float]] = {}
    # Oldest first, so that a run that was repeated counts once, as it came out last.
    for path in sorted(given_path(runs, "runs").resolve().glob("*/result.json"), key=_age):
        found = _read_run(path, _age(path), _age(path.with_name("status.json")))
        if found is not None and comparable(found[0], config, *_SIZES):
            run, result = found
            size = (_uniform_rank(run), result["params_after"])
            groups.setdefault(size, {})[run.seed] = result["accuracy"]
    points = [_point(size, list(seeds.values())) for size, seeds in groups.items()]
    return tuple(sorted(points, key=lambda point: point.params))


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # deleted just now
        return 0


@lru_cache(maxsize=4096)
def _read_run(path: Path, *ages: int) -> tuple[RunConfig, dict[str, Any]] | None:
    """Config and result of a finished run; None if it can't be read. ``ages`` renew the cache."""
    try:
        status = read_json(path.with_name("status.json")) or {}
        config = upgrade_config(read_json(path.with_name("config.json")) or {})
        result = read_result(path.parent, measured=True) or {}
        numbers = {name: result[name] for name in ("params_after", "accuracy")}
        # λ may have been moved by hand, which the settings do not tell.
        config["overrides"] = result.get("overrides", config.get("overrides", ()))
        if status["status"] != "finished":
            return None
        return RunConfig.from_dict(config), numbers
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Half written, of another version, or no run at all.
        return None


def _uniform_rank(config: RunConfig) -> int | None:
    rank = getattr(config.method, "rank", None)
    budget = getattr(config.method, "budget", None)
    is_uniform = getattr(config.method, "rank_allocation", "uniform") == "uniform"
    return rank if isinstance(rank, int) and budget is None and is_uniform else None


def _point(size: tuple[int | None, int], accuracies: list[float]) -> RankPoint:
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else None
    return RankPoint(*size, statistics.fmean(accuracies), spread, len(accuracies))


def accuracy_estimate(
    runs: Path | str,
    config: RunConfig,
    rank: int | str | Mapping[str, int] | None,
    *,
    params: int | None = None,
) -> AccuracyEstimate | None:
    """The accuracy that finished runs let one expect at a rank, with its spread over seeds.

    Between two ranks that were run, mean and spread are interpolated linearly in log rank. Where
    ranks differ by layer, or come from a budget, the parameters of the whole model take the
    rank's place. Outside of what was run nothing is estimated.

    Args:
        runs: folder of runs.
        config: the run that one thinks of; runs that differ from it in more than rank, budget
            and seed don't count.
        rank: which rank; None where a budget chooses the ranks.
        params: parameters of the finished model at this rank, from a plan; for ranks that are
            not one whole number.

    Returns:
        None if no finished run can be compared.
    """
    points = rank_points(runs, config)
    if not points:
        return None
    by_rank = [_Placed(point.rank, point) for point in points if point.rank is not None]
    if isinstance(rank, int) and by_rank:
        by_rank.sort(key=lambda placed: placed.at)
        return _between(points, by_rank, rank, rank, lambda x: f"rank {x}")
    if params is None:
        note = "ranks by layer are compared by their parameters: pass params="
        return AccuracyEstimate(None, None, None, points, note)
    by_params = [_Placed(point.params, point) for point in points]
    return _between(points, by_params, None, params, "{:,} parameters".format)


def _between(
    points: tuple[RankPoint, ...],
    known: list[_Placed],
    rank: int | None,
    at: int,
    words: Callable[[int], str],
) -> AccuracyEstimate:
    """The neighbors on either side, and what lies between them."""
    low, high = known[0].at, known[-1].at
    if not low <= at <= high:
        there = words(low) if low == high else f"{low:,} to {words(high).removeprefix('rank ')}"
        return AccuracyEstimate(
            rank, None, None, points, f"{words(at)} is outside of what was run ({there})"
        )
    # Of runs of one size that were asked for in two ways, those with more seeds count.
    left = max((p for p in known if p.at <= at), key=lambda p: (p.at, p.point.seeds))
    right = min((p for p in known if p.at >= at), key=lambda p: (p.at, -p.point.seeds))
    share = 0.0
    if left.at != right.at:
        share = math.log(at / left.at) / math.log(right.at / left.at)
    low_std, high_std = left.point.std, right.point.std
    mean = (1 - share) * left.point.mean + share * right.point.mean
    std = None
    if low_std is not None and high_std is not None:
        std = (1 - share) * low_std + share * high_std
    return AccuracyEstimate(rank, mean, std, points, _note(left, right, words))


def _note(left: _Placed, right: _Placed, words: Callable[[int], str]) -> str:
    ends = [left] if left is right else [left, right]
    between = "from" if left is right else "between"
    seeds = [f"{p.point.seeds} {'seed' if p.point.seeds == 1 else 'seeds'}" for p in ends]
    runs = [f"{words(p.at)} ({count})" for p, count in zip(ends, seeds, strict=True)]
    note = f"{between} {' and '.join(runs)}"
    alone = [words(p.at) for p in ends if p.point.std is None]
    return note + (f"; one seed at {' and at '.join(alone)}: spread unknown" if alone else "")
