"""Results that the project measured itself: ``data/results/``, each with its command."""

import json
from typing import Any

from pclora_lab.embedded import data_dir

__all__ = ["load_record"]


def load_record(name: str) -> dict[str, Any]:
    """Read a saved result.

    Args:
        name: file name without its ending, e.g. ``starts_digits``.

    Returns:
        ``command``, ``hardware``, ``torch``, ``summary`` and ``runs``.

    Raises:
        FileNotFoundError: there is none of that name; lists those there are.
    """
    folder = data_dir("results")
    path = folder / f"{name}.json"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in folder.glob("*.json")))
        raise FileNotFoundError(f"no record {name!r} in {folder}: there are {there or 'none'}")
    return json.loads(path.read_text(encoding="utf8"))
