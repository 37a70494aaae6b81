"""How accurate would a rank be? Finished runs are asked, of the same task and by its own metric.

Sizes are arithmetic (:mod:`pclora_lab.nn.sizes`). How accurate a rank is nobody knows before a
training, so nothing is said about ranks outside of those that were run."""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pclora_lab.runs.estimates.alike import comparable
from pclora_lab.runs.estimates.finished import FinishedRun, finished_runs, shipped_runs
from pclora_lab.tasks.classification import ACCURACY
from pclora_lab.tasks.metrics import TaskMetric
from pclora_lab.tasks.registry import named_task
from pclora_lab.training.config import RunConfig

__all__ = ["AccuracyEstimate", "RankPoint", "accuracy_estimate", "expected_accuracy"]
__all__ += ["rank_points"]

# What sets the size of the result; runs that are compared may differ in it.
_SIZES = ("rank", "budget", "ratio")


@dataclass(frozen=True)
class RankPoint:
    """Finished runs of one size.

    Attributes:
        rank: the one that all layers have; None where they differ.
        params: of the finished model.
        mean: of the task's ranking metric, over the seeds.
        std: its sample standard deviation; None for one seed.
        seeds: how many there were.
        shipped: how many of them come with the package.
    """

    rank: int | None
    params: int
    mean: float
    std: float | None
    seeds: int
    shipped: int = 0


class _Placed(NamedTuple):
    """Runs of one size on the axis of the estimate, which is the rank or the parameters."""

    at: int
    point: RankPoint


@dataclass(frozen=True)
class AccuracyEstimate:
    """What earlier runs let one expect.

    Attributes:
        rank: that was asked about; None for ranks by layer.
        mean: value of the metric to expect; None where the runs can't say.
        std: its standard deviation over seeds; None where it is unknown.
        points: the runs behind it, by size.
        seeds: how many runs the mean was read from.
        note: where the numbers come from, or why there are none.
        metric: what the numbers are of.
    """

    rank: int | None
    mean: float | None
    std: float | None
    points: tuple[RankPoint, ...]
    note: str
    seeds: int = 0
    metric: TaskMetric = ACCURACY


def rank_points(
    runs: Path | str, config: RunConfig, *, with_shipped: bool = False
) -> tuple[RankPoint, ...]:
    """Finished runs that differ from a config in rank, budget and seed only; by size.

    Args:
        runs: folder of runs; what is not a finished run in it is passed over.
        config: what the runs are compared with.
        with_shipped: whether the runs that come with the package count where the folder has none
            of the same size and seed.
    """
    groups: dict[tuple[int | None, int], dict[int, FinishedRun]] = {}
    key = named_task(config.task).ranking.key
    # Oldest first, so that a run that was repeated counts once, as it came out last.
    for run in (*(shipped_runs() if with_shipped else ()), *finished_runs(runs)):
        if key in run.numbers and comparable(run.config, config, *_SIZES):
            size = (_uniform_rank(run.config), run.numbers["params_after"])
            groups.setdefault(size, {})[run.config.seed] = run
    points = [_point(size, list(seeds.values()), key) for size, seeds in groups.items()]
    return tuple(sorted(points, key=lambda point: point.params))


def _uniform_rank(config: RunConfig) -> int | None:
    rank = getattr(config.method, "rank", None)
    budget = getattr(config.method, "budget", None)
    is_uniform = getattr(config.method, "rank_allocation", "uniform") == "uniform"
    return rank if isinstance(rank, int) and budget is None and is_uniform else None


def _point(size: tuple[int | None, int], found: list[FinishedRun], key: str) -> RankPoint:
    values = [run.numbers[key] for run in found]
    spread = statistics.stdev(values) if len(values) > 1 else None
    shipped = sum(run.is_shipped for run in found)
    return RankPoint(*size, statistics.fmean(values), spread, len(values), shipped)


def accuracy_estimate(
    runs: Path | str,
    config: RunConfig,
    rank: int | str | Mapping[str, int] | None,
    *,
    params: int | None = None,
    with_shipped: bool = False,
) -> AccuracyEstimate | None:
    """What finished runs let one expect of a rank by the task's metric, with its spread over seeds.

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
        with_shipped: whether the runs that come with the package count too.

    Returns:
        None if no finished run can be compared.
    """
    points = rank_points(runs, config, with_shipped=with_shipped)
    if not points:
        return None
    found = _estimate(points, rank, params)
    return replace(found, metric=named_task(config.task).ranking)


def _estimate(
    points: tuple[RankPoint, ...], rank: int | str | Mapping[str, int] | None, params: int | None
) -> AccuracyEstimate:
    by_rank = [_Placed(point.rank, point) for point in points if point.rank is not None]
    if isinstance(rank, int) and by_rank:
        by_rank.sort(key=lambda placed: placed.at)
        return _between(points, by_rank, rank, rank, lambda x: f"rank {x}")
    if params is None:
        note = "ranks by layer are compared by their parameters: pass params="
        return AccuracyEstimate(None, None, None, points, note)
    by_params = [_Placed(point.params, point) for point in points]
    return _between(points, by_params, None, params, "{:,} parameters".format)


def expected_accuracy(runs: Path | str, config: RunConfig, params: int) -> AccuracyEstimate | None:
    """What to expect of a run as it is set, also from the runs that come with the package.

    Args:
        runs: folder of runs.
        config: the run that one thinks of.
        params: of the whole model that it would leave.
    """
    rank = _uniform_rank(config)
    return accuracy_estimate(runs, config, rank, params=params, with_shipped=True)


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
    seeds = sum(p.point.seeds for p in {left, right})
    return AccuracyEstimate(rank, mean, std, points, _note(left, right, words), seeds)


def _note(left: _Placed, right: _Placed, words: Callable[[int], str]) -> str:
    ends = [left] if left is right else [left, right]
    between = "from" if left is right else "between"
    runs = [f"{words(p.at)} ({_seeds(p.point.seeds)})" for p in ends]
    note = f"{between} {' and '.join(runs)}"
    alone = [words(p.at) for p in ends if p.point.std is None]
    if all(p.point.shipped == p.point.seeds for p in ends):
        note += ", shipped with the package"
    return note + (f"; one seed at {' and at '.join(alone)}: spread unknown" if alone else "")


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
