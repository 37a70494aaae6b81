"""Every field of every config with odd values: refused in words, or taken as it is."""

import dataclasses
import json
import math
import random
from collections.abc import Iterator
from typing import Any

from odd import ODD, Answer, ask
from outcome import Outcome

__all__ = ["fuzz_configs"]


def fuzz_configs(number: int, seed: int) -> Iterator[Outcome]:
    """One outcome for each field and value, as an argument and from JSON.

    Args:
        number: most of them; fewer are drawn.
        seed: draws them.
    """
    questions = list(_questions())
    draw = random.Random(seed)
    for kind, cls, field, odd in draw.sample(questions, min(number, len(questions))):
        value = ODD[odd]
        asked = _as_argument(cls, field, value) if kind == "configs" else _from_json(field, value)
        yield _outcome(kind, f"{cls.__name__}.{field} = {odd}", asked, field, value)


def _questions() -> Iterator[tuple[str, type, str, str]]:
    from pclora_lab.fields import options_of
    from pclora_lab.methods.registry import METHODS
    from pclora_lab.training.config import RunConfig

    for cls in (RunConfig, *(method.Config for method in METHODS.values())):
        for field in options_of(cls):
            for odd, value in ODD.items():
                yield "configs", cls, field, odd
                if cls is RunConfig and _is_plain(value):
                    yield "configs as JSON", cls, field, odd


def _as_argument(cls: type, field: str, value: Any) -> Answer:
    return ask(lambda: cls(**{field: value}), field)


def _from_json(field: str, value: Any) -> Answer:
    from pclora_lab.training.config import RunConfig

    return ask(lambda: RunConfig.from_dict({field: json.loads(json.dumps(value))}), field)


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _outcome(kind: str, what: str, answer: Answer, field: str, value: Any) -> Outcome:
    if answer.error is not None:
        detail = f"{type(answer.error).__name__}: {str(answer.error)[:200]}"
        return Outcome(kind, what, answer.problem or "kept", detail)
    problem = _changed(answer.value, field, value)
    return Outcome(kind, what, "different" if problem else "kept", problem)


def _changed(config: Any, field: str, value: Any) -> str:
    """How what was taken differs from what was given, or can't be written and read again."""
    taken = getattr(config, field)
    if isinstance(value, bool) is not isinstance(taken, bool):
        return f"became {taken!r}"[:200]
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} was taken"
    is_number = isinstance(value, int | float) and isinstance(taken, int | float)
    if is_number and taken != value:
        return f"became {taken!r}"[:200]
    again = ask(lambda: _reread(config))
    if again.error is not None or again.value != config:
        return f"is another one once it is saved: {again.error or again.value}"[:200]
    return ""


def _reread(config: Any) -> Any:
    from pclora_lab.methods.registry import config_from_dict
    from pclora_lab.training.config import RunConfig

    values = json.loads(json.dumps(config.to_dict(), allow_nan=False, ensure_ascii=False).encode())
    is_run = dataclasses.is_dataclass(config) and isinstance(config, RunConfig)
    return RunConfig.from_dict(values) if is_run else config_from_dict(values)
