"""When a run is measured, planned before its first step from what a pass and a step cost.

Costs are counted in forward passes of one example and never read from a clock, so that one seed
gives the same rows on every machine, after a resume and in every cell of a comparison.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from pclora_lab.methods.pclora.schedules import base_weight_factor
from pclora_lab.training.config import RunConfig

__all__ = ["MeasuringPlan", "evenly", "lambda_of", "log_every", "plan_measuring"]
__all__ += ["teacher_examples", "teacher_readings"]

# Shares of what the training's steps cost.
ACCURACY_SHARE = 0.1
LAYERS_SHARE = 0.05

# Readings of the accuracy: fewer make no curve, more show nothing that fewer don't.
LEAST_POINTS, MOST_POINTS = 10, 31
# Examples of a reading: with fewer, one example is more than 1.5%.
LEAST_EXAMPLES, MOST_EXAMPLES = 64, 512
# Readings with more examples come before more readings.
_WELL_READ = 256

# A step is a forward pass and a backward pass, which takes about two; a teacher's comes on top.
PASSES_OF_A_STEP = 3
# Looking at every layer and comparing it takes about as long again as the pass itself.
_PASSES_OF_A_LOOK = 4

_LOG_ROWS = 120
TEACHER_POINTS = 10


@dataclass(frozen=True)
class MeasuringPlan:
    """At which steps what is measured.

    Attributes:
        steps: where both accuracies are read; the first and the last are among them.
        examples: of the validation split, for each of these readings.
        distances: those of the steps where the layers are compared with the teacher's.
    """

    steps: tuple[int, ...]
    examples: int
    distances: tuple[int, ...]


def log_every(steps: int) -> int:
    """Steps between two rows of the history.

    Of a run of up to 239 steps every step has a row; a longer one has 120 to 239 rows.

    Example:
        >>> [steps // log_every(steps) for steps in (239, 240, 300, 359, 4000)]
        [239, 120, 150, 179, 121]
    """
    return max(1, steps // _LOG_ROWS)


def plan_measuring(config: RunConfig, *, small_share: float, probe_examples: int) -> MeasuringPlan:
    """What a tenth of the training's cost buys: readings of the accuracy where λ moves and after.

    What the config says is taken as it is, spread evenly; what it leaves open is planned.

    Args:
        config: steps, batch size, schedule, and what is asked for.
        small_share: cost of a pass of what stays, as a share of one with all that is there; 0 for
            a method that has no second accuracy.
        probe_examples: examples of one look at the layers.

    Example:
        >>> plan = plan_measuring(RunConfig(steps=300), small_share=0.1, probe_examples=32)
        >>> len(plan.steps), plan.examples, plan.steps[:4], plan.steps[-1]
        (20, 261, (0, 10, 18, 28), 300)
    """
    affordable = _affordable(ACCURACY_SHARE, config.steps, config.batch_size) / (1 + small_share)
    points = _points(config, affordable)
    examples = config.eval_images
    if examples is None:
        examples = _between(LEAST_EXAMPLES, int(affordable / points), MOST_EXAMPLES)
    every = log_every(config.steps)
    logged = [*range(0, config.steps, every), config.steps]
    steps = spread(logged, points, lambda_of(config) if config.evaluations is None else None)
    looks = _affordable(LAYERS_SHARE, config.steps, config.batch_size)
    looks /= _PASSES_OF_A_LOOK * probe_examples
    return MeasuringPlan(steps, examples, evenly(steps, max(2, int(looks))))


def _affordable(share: float, steps: int, batch_size: int) -> float:
    """Passes of one example that a share of the training's cost buys."""
    return share * PASSES_OF_A_STEP * steps * batch_size


def _points(config: RunConfig, affordable: float) -> int:
    if config.evaluations is not None:
        return config.evaluations + 1  # and the start
    each = _WELL_READ if config.eval_images is None else config.eval_images
    return _between(LEAST_POINTS, int(affordable / each), MOST_POINTS)


def teacher_examples(config: RunConfig) -> int:
    """Validation examples for each of the ten readings of a teacher's fine-tuning."""
    if config.eval_images is not None:
        return config.eval_images
    affordable = _affordable(ACCURACY_SHARE, config.teacher_steps, config.batch_size)
    return _between(LEAST_EXAMPLES, int(affordable / TEACHER_POINTS), MOST_EXAMPLES)


def teacher_readings(config: RunConfig) -> tuple[int, ...]:
    """Steps of a teacher's fine-tuning after which it is read: as many as asked for, at most ten.

    Example:
        >>> teacher_readings(RunConfig(teacher_steps=19))
        (2, 4, 6, 8, 10, 11, 13, 15, 17, 19)
    """
    asked = TEACHER_POINTS if config.evaluations is None else config.evaluations
    return evenly(range(config.teacher_steps + 1), min(asked, TEACHER_POINTS) + 1)[1:]


def _between(least: int, value: int, most: int) -> int:
    return max(least, min(most, value))


def lambda_of(config: RunConfig) -> Callable[[float], float] | None:
    """λ by progress, as the schedule has it; None for a method without one."""
    schedule = getattr(config.method, "schedule", None)
    if schedule is None:
        return None
    fade_end = getattr(config.method, "fade_end", 1.0)
    return lambda progress: base_weight_factor(progress, schedule, fade_end)


def spread(
    logged: Sequence[int], points: int, lam: Callable[[float], float] | None
) -> tuple[int, ...]:
    """So many of the steps: one half where λ moves, one half evenly over the training.

    Args:
        logged: steps to choose from, from 0 to the last.
        points: how many; all of them if there are fewer.
        lam: λ by progress; None spreads all of them evenly.

    Example:
        >>> spread(range(0, 101, 5), 5, None)
        (0, 25, 50, 75, 100)
        >>> spread(range(0, 101, 5), 5, lambda progress: float(progress < 0.5))
        (0, 50, 55, 60, 100)
    """
    points, reached = min(points, len(logged)), _reached(logged, lam)
    chosen = {0, len(logged) - 1}
    for i in range(1, points - 1):
        place = bisect_left(reached, i / (points - 1) - 1e-9)
        later = (p for p in range(place, len(logged)) if p not in chosen)
        earlier = (p for p in reversed(range(place)) if p not in chosen)
        # There is one: no more are chosen than there are.
        chosen.add(next(chain(later, earlier)))
    return tuple(logged[place] for place in sorted(chosen))


def _reached(logged: Sequence[int], lam: Callable[[float], float] | None) -> list[float]:
    """Share of the way at every step, in [0, 1]: of λ's and of the training's."""
    last = logged[-1]
    trained = [step / last for step in logged]
    if lam is None:
        return trained
    lams = [lam(progress) for progress in trained]
    moves = [abs(now - before) for before, now in pairwise(lams)]
    whole = sum(moves)
    if not whole:
        return trained
    return [(sum(moves[:place]) / whole + share) / 2 for place, share in enumerate(trained)]


def evenly(steps: Sequence[int], count: int) -> tuple[int, ...]:
    """So many of them, the first and the last among them.

    Example:
        >>> evenly((0, 1, 2, 3, 4), 3), evenly((0, 1), 5)
        ((0, 2, 4), (0, 1))
    """
    if count >= len(steps):
        return tuple(steps)
    return tuple(steps[round(i * (len(steps) - 1) / (count - 1))] for i in range(count))
