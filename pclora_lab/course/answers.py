"""Reading what a student answered, of whatever type it is; the reason where it can't be read."""

import ast
import functools
import math
import numbers
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Concatenate, NamedTuple, ParamSpec

from pclora_lab.wording import brief, shown

__all__ = [
    "Number",
    "UnreadableAnswer",
    "above_break_even",
    "as_sentence",
    "near",
    "read_count",
    "read_items",
    "read_number",
    "whole_rank",
]

_LONGEST_TEXT, _MOST_RANK = 300, 1_000_000
# A word or "λ =" before the number, a fraction, a unit behind it.
_NUMBER = re.compile(
    r"(?:[^\W\d]+\s*[=:]?\s*)?(?P<sign>[+-]?)\s*(?P<number>[0-9][0-9.,_\s]*|[.][0-9]+)"
    r"(?P<power>e[+-]?[0-9]{1,3})?(?:/\s*(?P<below>[0-9]+))?\s*(?P<unit>%|[^\W\d]*)"
)
_THOUSANDS = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?")

Facts = ParamSpec("Facts")


class UnreadableAnswer(ValueError):
    """An answer that no check can go on with; its text is the sentence for the student."""


class Number(NamedTuple):
    """A number, and whether a percent sign followed it."""

    value: float
    is_percent: bool = False


def as_sentence(
    check: Callable[Concatenate[object, Facts], str],
) -> Callable[Concatenate[object, Facts], str]:
    """Make a check answer every answer with a sentence, also one that it can't read.

    Example:
        >>> as_sentence(lambda answer: f"right: {read_count(answer)}")("not a number")
        "'not a number' is not a number: write one such as 12"
    """

    @functools.wraps(check)
    def checked(answer: object, *facts: Facts.args, **named: Facts.kwargs) -> str:
        try:
            return check(answer, *facts, **named)
        except UnreadableAnswer as reason:
            return str(reason)
        except Exception as error:  # noqa: BLE001 - an answer may be any object, with any methods
            return brief(f"{shown(answer)} can't be checked: {type(error).__name__}: {error}", 300)

    return checked


def read_number(answer: object, example: object = 0.42, *, thousands: bool = False) -> Number:
    """An answer as a finite number.

    Args:
        answer: an int, float, fraction or decimal; a scalar of numpy or torch; or text, with a
            decimal comma, a percent sign or a unit if need be.
        example: what the sentence offers as a possible answer.
        thousands: whether the comma in ``1,175`` divides thousands, as in a count.

    Raises:
        UnreadableAnswer: nothing was answered, or what was answered is no number.

    Example:
        >>> read_number("λ = 0,71").value, read_number("47/40").value, read_number("71%")
        (0.71, 1.175, Number(value=71.0, is_percent=True))
    """
    if answer is None or answer is Ellipsis or (isinstance(answer, str) and not answer.strip()):
        raise UnreadableAnswer(f"not answered yet: write a number such as {example}")
    scalar = _scalar(answer)
    number = _from_text(scalar, thousands) if isinstance(scalar, str) else _from_number(scalar)
    if number is None or not math.isfinite(number.value):
        raise UnreadableAnswer(
            f"{shown(answer)} is not a number: write one such as {example}"
            if number is None
            else f"{shown(answer)} is not a finite number: write one such as {example}"
        )
    return number


def _scalar(answer: object) -> object:
    """The only element of an array or tensor; anything else as it is."""
    size = getattr(answer, "numel", None) or getattr(answer, "size", None)
    count = size() if callable(size) else size
    return answer.item() if count == 1 and hasattr(answer, "item") else answer


def _from_number(value: object) -> Number | None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal):
        return None
    try:
        return Number(float(value))
    except OverflowError:
        return Number(math.inf)


def _from_text(text: str, thousands: bool) -> Number | None:
    match = _NUMBER.fullmatch(text.strip().replace("−", "-")) if len(text) < _LONGEST_TEXT else None
    if match is None:
        return None
    digits = re.sub(r"[\s_]", "", match["number"])
    if _THOUSANDS.fullmatch(digits) and (thousands or digits.count(",") > 1):
        digits = digits.replace(",", "")
    try:
        value = float(digits.replace(",", ".") + (match["power"] or ""))
        value /= float(match["below"] or 1)
    except (ValueError, ZeroDivisionError):
        return None
    return Number(-value if match["sign"] == "-" else value, match["unit"] == "%")


def read_count(answer: object, example: int = 12) -> float:
    """An answer as a count of something: at least 0, and no share.

    Raises:
        UnreadableAnswer: it is no number, is negative, a share or a percentage.

    Example:
        >>> read_count("1,001,280"), read_count(30.0)
        (1001280.0, 30.0)
    """
    value, is_percent = read_number(answer, example, thousands=True)
    if value < 0:
        raise UnreadableAnswer(f"{value:g} is negative: write a number of at least 0")
    if is_percent or 0 < value < 1:
        raise UnreadableAnswer(
            f"{shown(answer)} is a share: asked is a number of its own, such as {example:,}"
        )
    return value


def whole_rank(answer: object, example: int = 12) -> int:
    """An answer as a rank: a whole number of at least 1.

    Raises:
        UnreadableAnswer: it is something else.

    Example:
        >>> whole_rank(5.0), whole_rank(" rank 5 ")
        (5, 5)
    """
    value, is_percent = read_number(answer, example, thousands=True)
    if value <= 0:
        raise UnreadableAnswer(f"a rank is at least 1, and {value:g} is not")
    if is_percent or value < 1:
        raise UnreadableAnswer(f"{shown(answer)} is a share, no rank: write one such as {example}")
    if value != round(value):
        raise UnreadableAnswer(f"a rank is a whole number, and {value:g} is not")
    if value > _MOST_RANK:
        raise UnreadableAnswer(f"rank {value:,.6g} is larger than any layer is wide")
    return int(value)


def above_break_even(rank: float, even: float) -> str:
    """What is wrong with a rank at which two factors are no smaller than their matrix.

    Example:
        >>> above_break_even(77, 76.8)
        'rank 77 is not below the break-even rank 76.8: nothing would be saved'
    """
    return f"rank {rank:,.6g} is not below the break-even rank {even:g}: nothing would be saved"


def near(
    value: float, mistakes: Mapping[float, str] | Mapping[int, str], tolerance: float = 1e-6
) -> str | None:
    """The sentence of the known mistake that is nearest, if one is near enough.

    Example:
        >>> near(1.3, {1.3: "w belongs into the bracket", 1.4: "1 − α is missing"})
        'w belongs into the bracket'
    """
    distance, text = min((abs(mistake - value), text) for mistake, text in mistakes.items())
    return text if distance <= tolerance else None


def read_items(answer: object, example: str) -> list[object]:
    """An answer as a list: a list, tuple, dictionary, array, tensor, or text that shows one.

    A dictionary becomes a list of pairs; a text without brackets is split at its commas.

    Raises:
        UnreadableAnswer: nothing was answered, or it is no list.

    Example:
        >>> read_items("30, 60, 20", "[1, 2, 3]"), read_items({0: 1}, "[(0, 1)]")
        ([30, 60, 20], [(0, 1)])
    """
    if answer is None or answer is Ellipsis or (isinstance(answer, str) and not answer.strip()):
        raise UnreadableAnswer(f"not answered yet: write for example {example}")
    if isinstance(answer, str):
        return _items_of_text(answer, example)
    if isinstance(answer, Mapping):
        return list(answer.items())
    listed = answer.tolist() if hasattr(answer, "tolist") else answer
    if not isinstance(listed, Sequence | Iterable) or isinstance(listed, bytes | set | frozenset):
        raise UnreadableAnswer(f"{shown(answer)} is no list: write one such as {example}")
    return list(listed)


def _items_of_text(text: str, example: str) -> list[object]:
    if len(text) >= _LONGEST_TEXT:
        raise UnreadableAnswer(f"{shown(text)} is no list: write one such as {example}")
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [part for part in re.split(r"[,;\s]+", text.strip(" []()\n\t")) if part]
    return read_items(value, example) if isinstance(value, list | tuple | dict) else [value]
