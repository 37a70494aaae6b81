"""Names of classes that differ in capitals, spaces or the way an accent is stored only."""

import unicodedata
from collections import Counter
from collections.abc import Mapping

__all__ = ["joined_spellings", "spelling_key"]


def spelling_key(name: str) -> str:
    """What spellings of one name have in common; a single character stays as it is.

    Example:
        >>> spelling_key("Very  Good") == spelling_key("very good"), spelling_key("A")
        (True, 'A')
    """
    plain = " ".join(unicodedata.normalize("NFC", name).split())
    return plain.casefold() if len(plain) > 1 else plain


def joined_spellings(counts: Mapping[str, int]) -> tuple[dict[str, str], list[str]]:
    """Every spelling with the one that stands for it, the most frequent; and a note for each join.

    Example:
        >>> joined_spellings({"Positive": 9, "positive": 1})
        ({'Positive': 'Positive', 'positive': 'Positive'}, ["1 'positive' counted as 'Positive'"])
    """
    groups: dict[str, Counter[str]] = {}
    for name, count in counts.items():
        groups.setdefault(spelling_key(name), Counter())[name] += count
    joined: dict[str, str] = {}
    notes: list[str] = []
    for group in groups.values():
        best = min(group, key=lambda name: (-group[name], name))
        joined |= dict.fromkeys(group, best)
        others = sorted(name for name in group if name != best)
        notes += [f"{group[name]:,} {name!r} counted as {best!r}" for name in others]
    return joined, notes
