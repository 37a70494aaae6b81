"""Checks of lesson 02, the schedules, and of lesson 03, the loss of a student with a teacher."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pclora_lab.course.answers import (
    UnreadableAnswer,
    as_sentence,
    near,
    read_items,
    read_number,
)
from pclora_lab.course.functions import called
from pclora_lab.methods.pclora.schedules import (
    SCHEDULES,
    Points,
    base_weight_factor,
    check_schedule,
    parse_points,
    schedule_notes,
)
from pclora_lab.wording import brief, shown

__all__ = ["check_02_1", "check_02_2", "check_03_1", "check_03_2"]

_POINTS = "[(0, 1), (1, 0)]"


@as_sentence
def check_02_1(answer: object) -> str:
    """λ of ``one_minus_cosine`` with q = 0.6 at 30%: ``cos(π t / 2)``, t = 0.3 / 0.6.

    Example:
        >>> check_02_1(0.71), check_02_1("70.7%")
        ('right', 'right')
        >>> check_02_1(0.29)
        'that is sine, or 1 − cos: despite its name, λ is the cosine'
    """
    value, is_percent = read_number(answer)
    value = value / 100 if is_percent else value
    if not 0 <= value <= 1:
        return f"λ lies between 0 and 1, and {shown(answer)} does not"
    exact = base_weight_factor(0.3, "one_minus_cosine", 0.6)
    if abs(value - 0.71) < 1e-6 or abs(value - exact) < 6e-4:
        return "right"
    undivided = "you took 0.3 as the share of the fade: divide by q first"
    mistakes = {
        math.cos(0.3 * math.pi / 2): undivided,
        1 - math.cos(0.3 * math.pi / 2): undivided,
        1 - math.sin(math.pi / 4): "that is sine, or 1 − cos: despite its name, λ is the cosine",
        0.5: "that is linear: this one is cos(πt/2)",
        0.70: "that is cut off and not rounded, or 1 − 0.3 without cosine and q",
        math.cos(0.3 * 0.6 * math.pi / 2): "0.3 times q: divide by q, the fade is over earlier",
        math.cos(0.5): "π/2 is missing: λ = cos(πt/2)",
        0.0: "half too much: λ = cos(πt/2) has the angle π/2 · t, and t is not 1 yet",
        1.0: "that is identity, which stays at 1: this one is cos(πt/2)",
        math.cos(45): "degrees and radians: math.cos takes radians",
    }
    return near(value, mistakes, 0.006) or "not yet: t = 0.3 / 0.6 of the fade is over"


def _read_schedule(answer: object) -> str | Points:
    """A name of a schedule, or its points.

    Raises:
        UnreadableAnswer: no name and no points, or points that no schedule can have.
    """
    if isinstance(answer, str) and answer.strip() in SCHEDULES:
        return answer.strip()
    pairs = _pairs(answer)
    points = [tuple(read_number(part, 0.3) for part in pair) for pair in pairs]
    plain = [(p / 100 if per else p, v / 100 if cent else v) for (p, per), (v, cent) in points]
    if any(not 0 <= part <= 1 for point in plain for part in point):
        raise UnreadableAnswer("progress and λ lie between 0 and 1: 30% of the training is 0.3")
    progress, lams = zip(*plain, strict=True)
    if list(progress) != sorted(progress) and (
        list(progress) == sorted(progress, reverse=True) or progress[0] > lams[0]
    ):
        raise UnreadableAnswer("progress comes first in a pair: (progress, λ)")
    try:
        check_schedule(plain, may_rise=True)
    except ValueError as refused:
        raise UnreadableAnswer(brief(str(refused), 300)) from refused
    return plain


def _pairs(answer: object) -> list:
    if isinstance(answer, str) and ":" in answer and "{" not in answer:
        try:
            return parse_points(answer)
        except ValueError as refused:
            raise UnreadableAnswer(brief(str(refused), 300)) from refused
    items = read_items(answer, _POINTS)
    if not items:
        raise UnreadableAnswer(f"the list is empty: write points such as {_POINTS}")
    pairs = [list(item) if isinstance(item, list | tuple) else [] for item in items]
    if any(len(pair) != 2 for pair in pairs):
        raise UnreadableAnswer(f"a schedule is a list of pairs (progress, λ), such as {_POINTS}")
    return pairs


@as_sentence
def check_02_2(answer: object) -> str:
    """A schedule with λ ≥ 0.5 up to 30%, λ ≤ 0.1 at half time and λ = 0 from 60% on.

    Looked at are all its points and a hundred places in between.

    Example:
        >>> check_02_2([(0, 1), (0.3, 0.5), (0.5, 0.1), (0.6, 0)])
        'right'
        >>> check_02_2([(0, 1), (0.3, 0.5), (0.5, 0.1), (0.6, 0), (0.7, 0.9), (1, 0)])
        'λ is 0.90 at 70%: the last 40% are not the small model alone'
    """
    schedule = _read_schedule(answer)
    corners = [] if isinstance(schedule, str) else [float(p) for p, _ in schedule]
    curve = {p: base_weight_factor(p, schedule) for p in [*corners, *(i / 100 for i in range(101))]}
    early = min((p for p in curve if p <= 0.3), key=lambda p: curve[p])
    late = max((p for p in curve if p >= 0.6), key=lambda p: curve[p])
    wrong = []
    if curve[early] < 0.5 - 1e-9:
        wrong.append(f"λ is {curve[early]:.2f} at {early:.0%}, less than 0.5 in the first 30%")
    if curve[0.5] > 0.1 + 1e-9:
        wrong.append(f"λ is {curve[0.5]:.2f} at half time, more than 0.1")
    if curve[late] > 0:
        at = f"λ is {curve[late]:.2f} at {late:.0%}"
        wrong.append(f"{at}: the last 40% are not the small model alone")
    return "; ".join(wrong) or "; ".join(["right", *schedule_notes(schedule)])


@as_sentence
def check_03_1(answer: object) -> str:
    """The total loss ``α·task + (1 − α)·(feature + w·logit)`` of 2.0, 0.4, 1.0; α = ¼, w = ½.

    Example:
        >>> check_03_1(1.175), check_03_1("47/40")
        ('right', 'right')
        >>> check_03_1(1.4)
        '1 − α is missing before the bracket'
    """
    value, _ = read_number(answer, 1.25)
    if abs(value - 1.175) < 5e-4 or abs(value - 1.18) < 1e-6:
        return "right"
    mistakes = {
        1.3: "w·logit belongs into the bracket: it is multiplied by 1 − α too",
        1.4: "1 − α is missing before the bracket",
        1.55: "w is missing: half of the logit term counts",
        1.725: "α and 1 − α are the wrong way round",
        0.8: "the logit term is missing",
        2.9: "α is missing: it divides the weight between task and teacher",
        3.4: "that is the sum of all three: each has its weight",
        0.675: "the task term is missing",
        0.5: "that is the task term alone",
        0.875: "the feature term is missing",
        1.17: "cut off: give all three decimals, or round",
        1.2: "rounded too far: give three decimals",
    }
    formula = "not yet: α·task + (1 − α)·(feature + w·logit)"
    return near(value, mistakes, 5e-4) or formula


# What a loss is instead of the mean of the squares, by what to say of it.
_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "a sum grows with the width of the layer: take the mean": lambda d: d.square().sum(),
    "a sum grows with the width of the layer: take the mean of all": lambda d: (
        d.square().sum(-1).mean()
    ),
    "that is the absolute difference: square it": lambda d: d.abs().mean(),
    "no root: the mean of the squares": lambda d: d.square().mean().sqrt(),
    "no root: that is the norm, and a loss of squares has none": lambda d: d.norm(),
    "the half is not in the formula: the mean of the squares": lambda d: d.square().mean() / 2,
    "without the square, differences cancel: square them": lambda d: d.mean(),
    "the square comes before the mean: here differences cancel": lambda d: d.mean().square(),
}


@as_sentence
def check_03_2(answer: object) -> str:
    """A feature loss that teaches, ``mean((s − t)²)``: its value and its gradient.

    Args:
        answer: a function of the student's output s and the teacher's t, each ``(4, 3)``.

    Example:
        >>> check_03_2(lambda s, t: (s - t).square().mean())
        'right'
        >>> check_03_2(lambda s, t: (s.detach() - t).square().mean())
        'it has no gradient: is there a .detach(), .data or no_grad() on the student?'
    """
    draw = torch.Generator().manual_seed(1)
    source = torch.randn(4, 3, generator=draw, requires_grad=True, device="cpu")
    with torch.enable_grad():
        s, t = 2 * source, source.detach() + 0.5
        yours, expected = called(answer, s, t), (s - t).square().mean()
    if yours.ndim:
        return f"a loss is one number, yours has the shape {tuple(yours.shape)}: take the mean"
    if not yours.requires_grad:
        return "it has no gradient: is there a .detach(), .data or no_grad() on the student?"
    if torch.allclose(yours, expected):
        slopes = [torch.autograd.grad(y, source, retain_graph=True)[0] for y in (yours, expected)]
        same = torch.allclose(slopes[0], slopes[1])
        return "right" if same else "value right, gradient not: is a part of s detached?"
    for text, form in _LOSSES.items():
        if torch.allclose(yours.abs(), form(s - t).abs()):
            return text
    return "not yet: the mean of the squared difference of s and t"
