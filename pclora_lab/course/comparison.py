"""Checks of lesson 07, the comparison, and of lesson 09, a model and data of one's own."""

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from pclora_lab.course.answers import (
    UnreadableAnswer,
    above_break_even,
    as_sentence,
    near,
    read_items,
    read_number,
    whole_rank,
)
from pclora_lab.methods.registry import METHODS, method_class
from pclora_lab.nn.counting import ModelCounts, count_model
from pclora_lab.nn.sizes import plan
from pclora_lab.wording import listed, shown

__all__ = ["check_07_1", "check_07_2", "check_09_1", "check_09_2"]

Rows = Sequence[Mapping[str, Any]]


def _means(rows: Rows) -> dict[str, dict[float, float]]:
    """Mean accuracy in percent, by method and budget."""
    scores: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        by_budget = scores.setdefault(row["method"], {})
        by_budget.setdefault(row["budget"], []).append(100 * row["accuracy"])
    return {m: {b: statistics.mean(v) for b, v in by.items()} for m, by in scores.items()}


@as_sentence
def check_07_1(answer: object, rows: Rows) -> str:
    """Points of accuracy that PC-LoRA loses with a quarter of its largest budget.

    Args:
        answer: the student's points, to one decimal or finer.
        rows: the record's runs, with ``method``, ``budget`` and ``accuracy``.

    Example:
        >>> scores = {0.05: 0.4, 0.1: 0.5, 0.2: 0.623}
        >>> rows = [{"method": "pclora", "budget": b, "accuracy": a} for b, a in scores.items()]
        >>> check_07_1(22.3, rows), check_07_1(-22.3, rows)
        ('right', 'the sign: points that are lost are positive')
    """
    value, _ = read_number(answer, 12.3)
    means = _means(rows)
    mean = means["pclora"]
    lost = mean[0.2] - mean[0.05]
    if abs(value - round(lost, 1)) < 1e-6 or abs(value - lost) < 0.006:
        return "right"
    itself = "that is an accuracy itself: how many points lie between two of them?"
    mistakes = {
        -lost: "the sign: points that are lost are positive",
        lost / 100: "that is a share: in points it is a hundred times as much",
        mean[0.2] - mean[0.1]: "that is half of the budget (0.1), not a quarter",
        mean[0.1] - mean[0.05]: "that starts at 0.1: the largest budget is 0.2",
        100 * (1 - mean[0.05] / mean[0.2]): (
            "that is percent of the accuracy; points are a difference"
        ),
        100 * mean[0.05] / mean[0.2]: "that is what is kept, in percent of the accuracy",
        **dict.fromkeys(mean.values(), itself),
        **{
            by[0.2] - by[0.05]: f"that is {method_class(name).title}: asked is PC-LoRA"
            for name, by in means.items()
            if name != "pclora" and abs(by[0.2] - by[0.05] - lost) > 0.06
        },
    }
    if known := near(value, mistakes, 0.06):
        return known
    if abs(value - lost) < 0.11:
        return f"nearly: {value:g} is cut off or rounded too early, round the difference of means"
    return "not yet: the mean accuracy at 0.2 minus that at 0.05"


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text.lower())


def _names() -> dict[str, str]:
    """Methods by every way of writing them: the registry's name and the legend's title."""
    return {_plain(text): n for n in METHODS for text in (n, method_class(n).title)}


def _budget(key: object, budgets: Sequence[float]) -> float | None:
    value, is_percent = read_number(key, 0.05)
    share = value / 100 if is_percent or value >= 1 else value
    return next((budget for budget in budgets if abs(budget - share) < 1e-6), None)


def _chosen(answer: object, budgets: Sequence[float]) -> list[tuple[object, object]]:
    """What was answered, as pairs of budget and method."""
    example = '{0.05: "…", 0.1: "…", 0.2: "…"}'
    if isinstance(answer, str) and _plain(answer) in _names():
        raise UnreadableAnswer(f"one method for each budget: write {example}")
    items = read_items(answer, example)
    if not items:
        raise UnreadableAnswer(f"that is empty: write {example}")
    if all(isinstance(item, list | tuple) and len(item) == 2 for item in items):
        return [(item[0], item[1]) for item in items if isinstance(item, list | tuple)]
    if len(items) != len(budgets):
        raise UnreadableAnswer(f"three budgets, three methods: write {example}")
    return list(zip(budgets, items, strict=True))


@as_sentence
def check_07_2(answer: object, rows: Rows) -> str:
    """The best method that compresses, by its mean accuracy, at each budget of the record.

    Args:
        answer: methods by budget; each by its name or as the legend writes it.
        rows: the record's runs, with ``method``, ``budget`` and ``accuracy``.

    Example:
        >>> scores = {"pclora": 0.6, "svd_kd": 0.62, "lora": 0.7}
        >>> rows = [{"method": m, "budget": 0.1, "accuracy": a} for m, a in scores.items()]
        >>> check_07_2({0.1: "SVD + KD"}, rows)
        'right: at 0.1 by 2.0 points'
        >>> check_07_2({"10%": "LoRA"}, rows)
        '0.1: LoRA does not compress'
    """
    means, budgets = _means(rows), sorted({row["budget"] for row in rows})
    wrong: list[str] = []
    margins: list[str] = []
    seen: set[float] = set()
    for key, name in _chosen(answer, budgets):
        if isinstance(key, str) and _plain(key) in _names():
            return "the budget comes first: budgets are the keys, methods the values"
        budget = _budget(key, budgets)
        if budget is None:
            return f"the record has no budget {shown(key)}: it has {listed([*map(str, budgets)])}"
        seen.add(budget)
        margin, said = _compared(name, budget, means)
        (wrong if margin is None else margins).append(f"{budget}: {said}")
    if missing := [str(budget) for budget in budgets if budget not in seen]:
        wrong.append(f"{' and '.join(missing)}: not answered yet")
    return "; ".join(wrong) or "right: at " + ", at ".join(m.replace(":", "") for m in margins)


def _compared(
    name: object, budget: float, means: Mapping[str, Mapping[float, float]]
) -> tuple[float | None, str]:
    """By how many points the method leads, and what to say; None if it does not."""
    if not isinstance(name, str):
        return None, f"{shown(name)} is not the name of a method"
    method = _names().get(_plain(name))
    if method is None or method not in means:
        return None, f"{shown(name)} is not in the record: it has {listed(list(means))}"
    title = method_class(method).title
    if not method_class(method).compresses:
        return None, f"{title} does not compress"
    scores = {m: by[budget] for m, by in means.items() if method_class(m).compresses}
    others = max(score for m, score in scores.items() if m != method) if len(scores) > 1 else 0.0
    if scores[method] < others:
        return None, f"{title} has {scores[method]:.1f}%, another has more"
    return scores[method] - others, f"by {scores[method] - others:.1f} points"


@as_sentence
def check_09_1(answer: object, model: nn.Module | ModelCounts, room: int = 450_000) -> str:
    """Largest rank at which the whole model has at most ``room`` parameters.

    Args:
        answer: the student's rank.
        model: the lesson's model, or its trace.
        room: parameters that fit.

    Example:
        >>> from pclora_lab.models import describe_model
        >>> model = count_model(describe_model("vit_digits", num_classes=10))
        >>> check_09_1(8, model, 60_000)
        'right: rank 8 leaves 57,514 parameters'
        >>> check_09_1(9, model, 60_000)
        'rank 9 leaves 63,658 parameters, too many'
    """
    rank = whole_rank(answer)
    if rank == room:
        return f"{room:,} is the room in parameters: which rank fits into it?"
    counts = model if isinstance(model, ModelCounts) else count_model(model)
    if rank >= (even := counts.break_even_rank):
        return above_break_even(rank, even)
    left = plan(counts, rank).whole_model.params_after
    if left > room:
        return f"rank {rank} leaves {left:,} parameters, too many"
    if rank + 1 < even and plan(counts, rank + 1).whole_model.params_after <= room:
        return f"it fits, but rank {rank + 1} fits as well"
    return f"right: rank {rank} leaves {left:,} parameters"


# The last word of what a definition is about; a house for birds is a house.
_LIVING = re.compile(
    r"\b(animal|bird|bug|cat|cow|creature|dog|fish|flower|herb|horse|insect|mammal|man|mouse|"
    r"person|plant|reptile|shrub|snake|spider|tree|woman|worm)s?$"
)
_HEAD = re.compile(r"\b(?:about|by|for|from|in|made|of|on|that|to|used|which|who|with)\b|[,;:.]")


@as_sentence
def check_09_2(answer: object, kind_of: Callable[[str], str]) -> str:
    """A definition of a tool or a building that the model takes for *alive*.

    Args:
        answer: the student's text.
        kind_of: the class that the model gives to a text.

    Example:
        >>> check_09_2("a house for birds", lambda text: "alive")
        'right: it says alive, if what you defined is a tool or a building'
        >>> check_09_2("", lambda text: "alive")
        'the text is empty: write the definition of a tool or a building'
    """
    task = "write the definition of a tool or a building"
    if answer is None:
        return f"not answered yet: {task}"
    if not isinstance(answer, str):
        return f"{shown(answer)} is no text: {task}"
    text = answer.strip()
    if not text:
        return f"the text is empty: {task}"
    if not re.search(r"[^\W\d_]{2}", text):
        return f"{shown(text)} has no words: {task}"
    if _plain(text) in ("alive", "thing", "place"):
        return f"{shown(text)} is the name of a class: {task}"
    if len(text.split()) < 2:
        return f"one word is no definition: {task}, such as 'a tool for driving nails'"
    if _LIVING.search(_HEAD.split(text.lower())[0].strip()):
        return f"{shown(text)} defines something living, so alive would be no mistake: {task}"
    said = kind_of(text)
    right = "right: it says alive, if what you defined is a tool or a building"
    return right if said == "alive" else f"not yet: it says {said}"
