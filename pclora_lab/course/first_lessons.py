"""Checks of lesson 00, the whole job, and of lesson 01, one layer."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab.course.answers import (
    above_break_even,
    as_sentence,
    near,
    read_number,
    whole_rank,
)
from pclora_lab.course.functions import called
from pclora_lab.nn.counting import ModelCounts, count_model
from pclora_lab.nn.sizes import plan

__all__ = ["check_00_1", "check_00_2", "check_01_1", "check_01_2"]


@as_sentence
def check_00_1(answer: object, model: nn.Module | ModelCounts) -> str:
    """Largest rank at which the *whole* model loses at least 90% of its parameters.

    Args:
        answer: the student's rank.
        model: the lesson's model, or its trace.

    Example:
        >>> from pclora_lab.models import describe_model
        >>> model = describe_model("vit_digits", num_classes=10)
        >>> check_00_1(5, model)
        'right: rank 5 removes 91.33% of the whole model'
        >>> check_00_1(6, model)
        '90.96% of the replaced layers are gone, but 89.97% of the whole model'
    """
    rank = whole_rank(answer)
    counts = model if isinstance(model, ModelCounts) else count_model(model)
    if rank >= (even := counts.break_even_rank):
        return above_break_even(rank, even)
    sizes = plan(counts, rank)
    whole, layers = sizes.whole_model.params_removed, sizes.replaced.params_removed
    if whole < 0.9 <= layers:
        return f"{layers:.2%} of the replaced layers are gone, but {whole:.2%} of the whole model"
    if whole < 0.9:
        return f"too large: rank {rank} removes {whole:.2%} of the whole model"
    if rank + 1 < even and plan(counts, rank + 1).whole_model.params_removed >= 0.9:
        return f"{whole:.1%} are gone, but rank {rank + 1} is enough too"
    return f"right: rank {rank} removes {whole:.2%} of the whole model"


@as_sentence
def check_00_2(
    answer: object, rows: Sequence[Mapping[str, Any]], steps: int, fade_end: float = 0.6
) -> str:
    """Step at which λ becomes 0: the end of the fade, q·N, or the first row behind it.

    Args:
        answer: the student's step.
        rows: the history of the run, with ``phase``, ``step`` and ``lam``.
        steps: N, all steps of the run.
        fade_end: q, the share of the steps that fade.

    Example:
        >>> rows = [{"phase": "fade", "step": s, "lam": max(0, 1 - s / 6)} for s in range(0, 11, 4)]
        >>> check_00_2(6, rows, 10)
        'right: the fade ends at 0.6 · 10 = 6; the first row behind it is step 8'
        >>> check_00_2(5, rows, 10)
        'too early: at step 4 λ is still 0.33'
    """
    value, is_percent = read_number(answer, 42, thousands=True)
    faded = [row for row in rows if row["phase"] == "fade"]
    end = math.ceil(fade_end * steps - 1e-9)
    first = next((row["step"] for row in faded if row["lam"] == 0), steps)
    # A drawn schedule ends elsewhere: then only the rows count.
    ends_there = all((row["lam"] == 0) == (row["step"] >= end) for row in faded)
    if value in ({end, first} if ends_there else {first}) and not is_percent:
        both = f"; the first row behind it is step {first}" if first != end else ""
        reason = f": the fade ends at {fade_end:g} · {steps} = {end}{both}"
        return "right" + (reason if ends_there else "")
    if is_percent or 0 < value < 1 or value == 100 * fade_end:
        unit = "" if value < 1 else "%"
        return f"{value:g}{unit} is a share of the run: of {steps} steps, which one is it?"
    return _wrong_step(value, faded, steps, end, first)


def _wrong_step(
    value: float, faded: Sequence[Mapping[str, Any]], steps: int, end: int, first: int
) -> str:
    if value < 0:
        return f"{value:g} is negative: the steps count from 0"
    if value > steps:
        return f"step {value:,.6g}? The run has {steps} steps"
    if value == steps - end:
        return f"{value:g} steps go on without the base: count from the start of the run"
    if value == steps:
        return f"{steps} is the last step: λ was 0 long before"
    zeros = [index for index, row in enumerate(faded) if row["lam"] == 0]
    if zeros and value == zeros[0]:
        return f"{value:g} is the row's place in the list: look into it for its step"
    before = [row for row in faded if row["step"] <= value]
    if value < min(end, first) and before:
        return f"too early: at step {before[-1]['step']} λ is still {before[-1]['lam']:.2g}"
    return f"λ is 0 at step {value:g}, but it was before: look for an earlier step"


@as_sentence
def check_01_1(answer: object) -> str:
    """Largest rank at which fc2, 384 → 96, keeps a quarter: ``r (384 + 96) + 96 ≤ 36,960 / 4``.

    Example:
        >>> check_01_1(19)
        'right: rank 19 leaves 9,216 of 36,960 parameters, 24.9%'
        >>> check_01_1("20")
        'too large: rank 20 leaves 9,696 parameters, 26.2%'
    """
    rank = whole_rank(answer)
    dense, left = 384 * 96 + 96, rank * (384 + 96) + 96
    width = "a quarter of the width is no quarter of the parameters: count r (384 + 96) + 96"
    mistakes = {
        24: width,
        96: width,
        57: "three quarters are left at this rank, not one",
        dense // 4: f"{dense // 4:,} is the number of parameters that may be left; which rank?",
    }
    if known := near(rank, mistakes):
        return known
    if rank >= 76:
        return "the break-even rank is 76.8: there all parameters are left, not a quarter of them"
    if left > dense / 4:
        return f"too large: rank {rank} leaves {left:,} parameters, {left / dense:.1%}"
    if left + 480 <= dense / 4:
        return f"it fits ({left / dense:.1%}), but rank {rank + 1} fits as well"
    return f"right: rank {rank} leaves {left:,} of {dense:,} parameters, {left / dense:.1%}"


# As lines: what was written, by what is wrong with it.
_LAYERS: dict[str, Callable[..., Tensor]] = {
    "right": lambda wx, b, bax, C, lam: lam * (wx + b) + bax + C,
    "b does not fade: λ multiplies W x and b": lambda wx, b, bax, C, lam: lam * wx + b + bax + C,
    "b is missing: λ multiplies W x + b": lambda wx, b, bax, C, lam: lam * wx + bax + C,
    "C is missing: who replaces b at λ = 0?": lambda wx, b, bax, C, lam: lam * (wx + b) + bax,
    "the adapter must not be scaled by 1 − λ": lambda wx, b, bax, C, lam: (
        lam * (wx + b) + (1 - lam) * (bax + C)
    ),
    "B A x must not be scaled by 1 − λ": lambda wx, b, bax, C, lam: (
        lam * (wx + b) + (1 - lam) * bax + C
    ),
    "C must not be scaled by 1 − λ": lambda wx, b, bax, C, lam: (
        lam * (wx + b) + bax + (1 - lam) * C
    ),
    "λ must not fade the adapter: it stays": lambda wx, b, bax, C, lam: lam * (wx + b + bax + C),
    "λ must not fade C: it stays when b is gone": lambda wx, b, bax, C, lam: (
        lam * (wx + b + C) + bax
    ),
    "λ must not fade B A x: it stays": lambda wx, b, bax, C, lam: lam * (wx + b + bax) + C,
    "1 − λ on the base? It is there at λ = 1, gone at λ = 0": lambda wx, b, bax, C, lam: (
        (1 - lam) * (wx + b) + bax + C
    ),
    "nothing fades: where is λ?": lambda wx, b, bax, C, lam: wx + b + bax + C,
    "this is the faded base alone: add the adapter": lambda wx, b, bax, C, lam: lam * (wx + b),
    "the base is missing: λ (W x + b) comes first": lambda wx, b, bax, C, lam: bax + C,
}


@as_sentence
def check_01_2(answer: object) -> str:
    """The layer of PC-LoRA, ``y = λ (W x + b) + B A x + C``, in the student's own line.

    Args:
        answer: a function of x ``(5, 6)``, W ``(4, 6)``, b ``(4,)``, A ``(2, 6)``, B ``(4, 2)``,
            C ``(4,)`` and λ. It is called at two values of λ.

    Example:
        >>> check_01_2(lambda x, W, b, A, B, C, lam: lam * (x @ W.T + b) + x @ A.T @ B.T + C)
        'right'
        >>> check_01_2(lambda x, W, b, A, B, C, lam: x @ W)[:46]
        'the shapes do not fit, check the transposes: R'
    """
    draw = torch.Generator().manual_seed(1)
    shapes = ((5, 6), (4, 6), (4,), (2, 6), (4, 2), (4,))
    parts = [torch.randn(shape, generator=draw, device="cpu") for shape in shapes]
    x, W, b, A, B, C = parts
    wx, bax = x @ W.T, x @ A.T @ B.T
    lams = (0.25, 0.7)
    # Copies: a line may well work in place.
    yours = [called(answer, *(part.clone() for part in parts), lam) for lam in lams]
    for y in yours:
        if y.shape != wx.shape:
            return f"the shape is {tuple(y.shape)}, not {tuple(wx.shape)}: check the transposes"
    for text, form in _LAYERS.items():
        pairs = zip(yours, (form(wx, b, bax, C, lam) for lam in lams), strict=True)
        if all(torch.allclose(y.double(), other.double(), atol=1e-5) for y, other in pairs):
            return text
    if torch.equal(*yours):
        return "λ changes nothing: is it written as a number? It comes in as lam"
    return "not yet, and no known mistake: compare with the formula"
