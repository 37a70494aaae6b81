"""What an architecture or a preprocessing is, by name: other versions of a library know others."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pclora_lab.data.splits import hash_of_texts

__all__ = ["changed_values", "described", "keys_of_one"]

# Larger ones, such as vocabularies, are told apart by a hash.
_MOST_KEYS, _MOST_CHARACTERS = 32, 64
_HASH = "hash "


def described(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in one flat mapping of plain, short values.

    Example:
        >>> described({"size": 3, "text": {"layers": 2, "act": "gelu"}})
        {'size': 3, 'text.layers': 2, 'text.act': 'gelu'}
        >>> described({"words": list(range(100))})
        {'words': 'hash 5a10434c6f763493'}
    """
    return dict(_flat(json.loads(json.dumps(values, default=str)), ""))


def _flat(values: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and 0 < len(value) <= _MOST_KEYS:
            yield from _flat(value, f"{place}{name}.")
        else:
            text = json.dumps(value, sort_keys=True)
            short = value if len(text) <= _MOST_CHARACTERS else f"{_HASH}{hash_of_texts(text)}"
            yield f"{place}{name}", short


def changed_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What both know and do not say the same about.

    Example:
        >>> changed_values({"act": "gelu", "old": 1}, {"act": "relu", "new": 2})
        ["act ('gelu', now 'relu')"]
    """
    return [
        name if str(now[name]).startswith(_HASH) else f"{name} ({value!r}, now {now[name]!r})"
        for name, value in before.items()
        if name in now and now[name] != value
    ]


def keys_of_one(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names that only one of the two knows.

    Example:
        >>> keys_of_one({"act": "gelu", "old": 1}, {"act": "relu", "new": 2})
        ['new', 'old']
    """
    return sorted(before.keys() ^ now.keys())
