"""What all processes of a run must have alike, compared before the first step."""

from collections.abc import Iterator, Mapping
from typing import Any

from pclora_lab.json_files import parse_json, to_json
from pclora_lab.training.parallel.ranks import Ranks

__all__ = ["require_same"]


def require_same(ranks: Ranks, facts: Mapping[str, Any], what: str) -> None:
    """Refuse processes that would train different runs.

    Args:
        ranks: of this process.
        facts: plain types by name.
        what: they are, for the message.

    Raises:
        RuntimeError: names each fact that differs, with both values.

    Example:
        >>> require_same(Ranks(), {"lr": 0.1}, "settings")
    """
    own = to_json(dict(_flat(facts)), sort_keys=True, default=str)
    first, *others = (parse_json(text, what) for text in ranks.gathered(own))
    for number, other in enumerate(others, start=1):
        names = [name for name in {**first, **other} if first.get(name) != other.get(name)]
        if names:
            told = "; ".join(
                f"{name} is {first.get(name)!r} in process 0 and {other.get(name)!r} in process "
                f"{number}"
                for name in names
            )
            raise RuntimeError(
                f"the processes of this run have different {what}: {told}. Start all of them with "
                "one command, on the same files"
            )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
