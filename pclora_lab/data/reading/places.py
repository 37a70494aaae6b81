"""Where a path in a table may lead: to what is in the table's own folder, and nowhere else."""

import os
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Final, Literal

__all__ = ["OUTSIDE", "inside"]


class _Place(Enum):
    OUTSIDE = "outside"


OUTSIDE: Final = _Place.OUTSIDE


def inside(path: str, place: Path | Sequence[Path] | None) -> str | Literal[_Place.OUTSIDE] | None:
    """Where the file is that a table names.

    Args:
        path: as it is written there, from the table's folder or from the working directory.
        place: the table's folder, or several; None believes the path as it is.

    Returns:
        The file's path, None where there is none, or :data:`OUTSIDE` for one that is not in the
        folder, links followed, and for an address.

    Example:
        >>> inside("http://a/b.png", Path("/")) is OUTSIDE
        True
    """
    is_address = "://" in path or "::" in path
    if place is None:
        return path if is_address or os.path.isfile(path) else None
    if is_address:
        return OUTSIDE
    places = [place] if isinstance(place, Path) else place
    homes = [os.path.realpath(one) for one in places]
    is_outside = False
    for candidate in (*(os.path.join(home, path) for home in homes), path):
        try:
            real = os.path.realpath(candidate)
            if not any(os.path.commonpath([home, real]) == home for home in homes):
                is_outside = True
            elif os.path.isfile(real):
                return real
        except (OSError, ValueError):  # too long, or with a zero byte
            continue
    return OUTSIDE if is_outside else None
