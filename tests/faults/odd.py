"""Odd values, and what an answer to one must be like."""

import math
import re
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["ODD", "Answer", "ask", "is_ours"]


class _Nasty:
    """An object that can't even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def _nested(depth: int) -> list:
    made: list = []
    for _ in range(depth):
        made = [made]
    return made


# A new one each time where a test could change it.
ODD: dict[str, Any] = {
    "none": None, "true": True, "false": False, "zero": 0, "one": 1, "minus one": -1,
    "two": 2, "2**31": 2**31, "2**70": 2**70, "-2**70": -(2**70), "10**7": 10**7, "10**9": 10**9,
    "10**400": 10**400, "10**5000": 10**5000, "half": 0.5, "3.0": 3.0, "1e-300": 1e-300,
    "1e30": 1e30, "1e308": 1e308, "nan": math.nan, "inf": math.inf, "-inf": -math.inf,
    "complex": 1 + 2j, "empty": "", "space": " ", "no": "no", "number as text": "8",
    "long text": "x" * 100_000, "nul": "a\0b", "surrogate": "\ud800", "newline": "a\nb",
    "html": "<img src=x onerror=alert(1)>", "up": "../../../etc/passwd", "percent": "25%",
    "bytes": b"8", "list": [], "list of lists": [[]], "deep list": _nested(3000), "dict": {},
    "dict of odd": {"a": {"b": None}}, "set": {1}, "tuple": (1, 2), "class": int, "lambda": len,
    "array": np.zeros(3), "numpy number": np.int64(3), "tensor": torch.zeros(2), "path": Path("x"),
    "nasty": _Nasty(), "pairs": [["a", 1], ["a", 2]], "regex": "(a+)+$", "bad regex": "(",
}  # fmt: skip

_LONGEST = 1200
LONGEST_SECONDS = 5.0
# Words of Python's or a library's inside.
_INSIDE = re.compile(
    r"\b(NoneType|has no attribute|not subscriptable|not iterable|unhashable|not callable|"
    r"positional argument|truth value|int too large|Exceeds the limit|embedded null|codec can't|"
    r"recursion depth|ambiguous|0x[0-9a-f]{6,})\b"
)


@dataclass(frozen=True)
class Answer:
    """What came of a question: a value, or an error.

    Attributes:
        value: what was given back.
        error: what was raised.
        problem: "traceback" or "unclear" where the error is none for a person; empty otherwise.
    """

    value: Any = None
    error: BaseException | None = None
    problem: str = ""


class Hang(BaseException):
    """No answer in time."""


def _ring(*_: object) -> None:
    raise Hang(f"no answer in {LONGEST_SECONDS:g} s of the processor's time")


def ask(question: Callable[[], Any], *named: str) -> Answer:
    """Ask, and judge the error.

    Args:
        question: what is tried.
        named: words of which the error must name one.
    """
    signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, LONGEST_SECONDS)
    try:
        return Answer(question())
    except Hang as error:
        return Answer(error=error, problem="hung")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - judged below
        return Answer(error=error, problem=_judged(error, named))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _judged(error: BaseException, named: tuple[str, ...]) -> str:
    # What the command line and the lab turn into a sentence.
    if not isinstance(error, ValueError | OSError | RuntimeError | ImportError):
        return "traceback"
    if isinstance(error, RecursionError | UnicodeError) or not is_ours(error):
        return "traceback"
    text = str(error)
    if not text.strip() or len(text) > _LONGEST or _INSIDE.search(text):
        return "unclear"
    return "" if not named or any(word in text for word in named) else "unclear"


def is_ours(error: BaseException) -> bool:
    """Whether this package raised it, or the system about a file that it names."""
    if isinstance(error, OSError) and error.filename is not None:
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "pclora_lab" in Path(frames[-1].filename).parts
