"""Decay schedules λ(progress): pure functions, no counters.

A named schedule is a function of ``t = n / (q·N)``, the share of the fade that has passed
(n: step, N: all steps, q: end of the fade). It gives 1 at t = 0; from t = 1 on, λ is exactly 0.
The four shapes follow PC-LoRA (arXiv:2406.09117); another package adds its own by an entry point of
the group ``pclora_lab.schedules`` that names a function.
"""

import itertools
import math
from collections.abc import Callable, Sequence

from pclora_lab.plugins import PluginError, Registry
from pclora_lab.wording import shown

__all__ = [
    "SCHEDULES",
    "base_weight_factor",
    "check_schedule",
    "fade_is_over",
    "parse_points",
    "schedule_points",
    "schedule_notes",
]

_MOST_POINTS = 10_000

Points = Sequence[tuple[float, float]]


def sine(t: float) -> float:
    """``λ = 1 − sin(πt/2)``: drops fast first (.62, .29, .08 at the quarters)."""
    return 1.0 - math.sin(math.pi * t / 2)


def one_minus_cosine(t: float) -> float:
    """``λ = cos(πt/2)``: slow first (.92, .71, .38 at the quarters)."""
    return math.cos(math.pi * t / 2)


def linear(t: float) -> float:
    """``λ = 1 − t``."""
    return 1.0 - t


def identity(t: float) -> float:
    """``λ = 1`` until the end of the fade, then 0: the hard switch, a control experiment."""
    return 1.0


Schedule = Callable[[float], float]


def _checked(name: str, loaded: object) -> Schedule:
    """What an entry point of ``pclora_lab.schedules`` gave, if it is a schedule."""
    if not callable(loaded):
        raise PluginError(f"{loaded!r} can't be called", "Point at a function of t that returns λ")
    try:
        values = [float(loaded(i / 32)) for i in range(32)]
    except (ArithmeticError, TypeError, ValueError) as error:
        raise PluginError(
            f"{name} fails on a t in [0, 1) with {type(error).__name__}: {error}",
            "Return λ for every t from 0 up to 1",
        ) from error
    outside = [value for value in values if not 0 <= value <= 1]
    if outside or not math.isclose(values[0], 1, abs_tol=1e-6):
        raise PluginError(
            f"{name} gives {(outside or values)[0]:g}" + ("" if outside else " at t = 0"),
            "Start at λ = 1 for t = 0 and stay in [0, 1]",
        )
    return loaded


SCHEDULES: Registry[Schedule] = Registry(
    "pclora_lab.schedules",
    "schedule",
    {"sine": sine, "one_minus_cosine": one_minus_cosine, "linear": linear, "identity": identity},
    _checked,
)


def check_schedule(
    schedule: str | Points, *, may_rise: bool = False
) -> str | tuple[tuple[float, float], ...]:
    """Return the schedule in its canonical form, or say what is wrong with it.

    Args:
        schedule: a name in :data:`SCHEDULES`, or points ``(progress, λ)`` over the whole
            training, e.g. ``[(0, 1), (0.2, 0.7), (0.6, 0)]``.
        may_rise: allow points at which λ grows again.

    Raises:
        ValueError: unknown name; points that are out of [0, 1], out of order, rise, or do not
            end at λ = 0.

    Example:
        >>> check_schedule([(0, 1), (0.5, 0)])
        ((0.0, 1.0), (0.5, 0.0))
    """
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise ValueError(
                f"unknown schedule {shown(schedule)}: use one of {', '.join(SCHEDULES)}, "
                "or points such as [(0, 1), (0.2, 0.7), (0.6, 0)]"
            )
        return schedule
    try:
        points = tuple((float(p), float(value)) for p, value in schedule)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(
            f"schedule {shown(schedule)} is neither a name ({', '.join(SCHEDULES)}) nor a list of "
            "(progress, λ) pairs"
        ) from error
    _check_points(points, may_rise)
    return points


def _check_points(points: tuple[tuple[float, float], ...], may_rise: bool) -> None:
    if len(points) > _MOST_POINTS:
        raise ValueError(f"a schedule of {len(points):,} points: {_MOST_POINTS:,} are the most")
    if len(points) < 2:
        raise ValueError(f"schedule {points} has {len(points)} point(s): give at least two")
    if any(not (0 <= p <= 1 and 0 <= value <= 1) for p, value in points):
        raise ValueError(f"schedule {points}: progress and λ must both lie in [0, 1]")
    for (p0, v0), (p1, v1) in itertools.pairwise(points):
        if p1 <= p0:
            raise ValueError(f"schedule {points}: progress must rise, but {p1} follows {p0}")
        if v1 > v0 and not may_rise:
            raise ValueError(
                f"schedule {points}: λ must not rise, but {v1:g} follows {v0:g}; a curve that may "
                "go up again needs may_rise=True"
            )
    if points[-1][1] != 0:
        raise ValueError(
            f"schedule {points} ends at λ = {points[-1][1]:g}: the student would still lean on its "
            "base, and nothing could be removed. End at 0, for example with a last point (1, 0)"
        )


def parse_points(text: str) -> list[tuple[float, float]]:
    """Points typed by a person: ``progress:λ``, separated by commas; not checked yet.

    Raises:
        ValueError: a part that is no pair of numbers.

    Example:
        >>> parse_points("0:1, 0.2:0.7, 0.6:0")
        [(0.0, 1.0), (0.2, 0.7), (0.6, 0.0)]
    """
    points = []
    for part in text.replace(";", ",").split(","):
        numbers = part.split(":")
        try:
            progress, lam = map(float, numbers)
        except ValueError as error:
            raise ValueError(
                f"{part.strip()!r} is no point: write progress:λ with commas in between, such as "
                "0:1, 0.2:0.7, 0.6:0"
            ) from error
        points.append((progress, lam))
    return points


def schedule_points(
    schedule: str | Points, fade_end: float = 0.6, count: int = 6
) -> list[tuple[float, float]]:
    """A schedule as points that can be moved: a named one in even steps, drawn ones as they are.

    Example:
        >>> schedule_points("linear", 0.6, count=4)
        [(0.0, 1.0), (0.2, 0.667), (0.4, 0.333), (0.6, 0.0)]
    """
    schedule = check_schedule(schedule, may_rise=True)
    if not isinstance(schedule, str):
        return list(schedule)
    shares = [i / (count - 1) for i in range(count)]
    if schedule == "identity":  # a step, which points can only have with a width
        return [(0.0, 1.0), (round(max(fade_end - 0.01, 0.001), 4), 1.0), (fade_end, 0.0)]
    inner = [(round(fade_end * t, 4), round(SCHEDULES[schedule](t), 3)) for t in shares[:-1]]
    return [*inner, (fade_end, 0.0)]


def schedule_notes(schedule: str | Points) -> list[str]:
    """What a person should know about a drawn curve that is allowed, but not usual.

    Example:
        >>> schedule_notes([(0, 0.5), (0.6, 0)])[0][:28]
        'λ starts at 0.5 and not at 1'
    """
    schedule = check_schedule(schedule, may_rise=True)
    if isinstance(schedule, str):
        return []
    notes = []
    if schedule[0][1] < 1:
        notes.append(
            f"λ starts at {schedule[0][1]:g} and not at 1: the student differs from its teacher "
            "before the first step, since a part of the base is taken away at once"
        )
    if any(v1 > v0 for (_, v0), (_, v1) in itertools.pairwise(schedule)):
        notes.append("λ rises on the way: the base comes back for a while, then leaves for good")
    return notes


def fade_is_over(progress: float, schedule: str | Points, fade_end: float = 0.6) -> bool:
    """Whether λ is 0 at this point of the training and stays so.

    Example:
        >>> fade_is_over(0.3, [(0, 1), (0.2, 0), (0.4, 0), (0.5, 0.3), (0.6, 0)])
        False
    """
    schedule = check_schedule(schedule, may_rise=True)
    if isinstance(schedule, str):
        return progress >= fade_end
    end = len(schedule) - 1
    while end > 0 and schedule[end - 1][1] == 0:
        end -= 1
    return progress >= schedule[end][0]


def base_weight_factor(
    progress: float, schedule: str | Points = "sine", fade_end: float = 0.6
) -> float:
    """λ at a point of the training.

    Args:
        progress: share of all training steps that has passed, in [0, 1].
        schedule: a name in :data:`SCHEDULES` or ``(progress, λ)`` points, linear in between.
        fade_end: q, the share of training after which λ is exactly 0. Points carry their own
            end, so q is not used with them.

    Returns:
        λ in [0, 1], exactly 0.0 from the end of the fade on; between points to twelve digits.

    Raises:
        ValueError: progress outside [0, 1] or an unknown schedule.

    Example:
        >>> [round(base_weight_factor(p, "sine", 0.6), 2) for p in (0, 0.15, 0.3, 0.45, 0.6)]
        [1.0, 0.62, 0.29, 0.08, 0.0]
        >>> base_weight_factor(0.4, [(0, 1), (0.2, 0.7), (0.6, 0)])
        0.35
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress {progress} is outside [0, 1]: pass step / total_steps")
    schedule = check_schedule(schedule, may_rise=True)
    if isinstance(schedule, str):
        return 0.0 if progress >= fade_end else SCHEDULES[schedule](progress / fade_end)
    return _interpolate(progress, schedule)


def _interpolate(progress: float, points: Points) -> float:
    if progress <= points[0][0]:
        return points[0][1]
    for (p0, v0), (p1, v1) in itertools.pairwise(points):
        if progress < p1:
            return round(v0 + (v1 - v0) * (progress - p0) / (p1 - p0), 12)
    return 0.0
