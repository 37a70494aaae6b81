"""Calling what a student wrote: whatever it does, there is a sentence about it."""

import inspect
from collections.abc import Callable

from torch import Tensor

from pclora_lab.course.answers import UnreadableAnswer
from pclora_lab.wording import brief

__all__ = ["called"]


def called(answer: object, *given: object) -> Tensor:
    """What a student's function returns, if it is a tensor.

    Raises:
        UnreadableAnswer: it is no function, it fails, or it returns something else.

    Example:
        >>> import torch
        >>> called(lambda x: 2 * x, torch.ones(1))
        tensor([2.])
    """
    if answer is None:
        raise UnreadableAnswer("not answered yet: write the function")
    if not callable(answer):
        raise UnreadableAnswer(f"a {type(answer).__name__} is no function: hand in its name alone")
    try:
        made = answer(*given)
    except Exception as error:
        raise UnreadableAnswer(_failed(answer, error, len(given))) from error
    if made is None:
        raise UnreadableAnswer("not answered yet: the function returns None")
    if not isinstance(made, Tensor):
        raise UnreadableAnswer(
            f"a {type(made).__name__} carries no gradient, a tensor does: is there an .item() or "
            ".numpy()?"
        )
    return made


def _failed(answer: Callable, error: Exception, count: int) -> str:
    text = brief(f"{type(error).__name__}: {error}", 200)
    if isinstance(error, RuntimeError) and "shape" in text:
        return f"the shapes do not fit, check the transposes: {text}"
    try:
        inspect.signature(answer).bind(*range(count))
    except (TypeError, ValueError):
        return f"the function must take {count} arguments: {text}"
    return f"the function stops with {text}"
