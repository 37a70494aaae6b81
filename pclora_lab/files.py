"""The ground under every room: files replaced in one step, JSON read with care, packaged data."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["data_dir", "load_published_result", "read_json", "replacing", "write_json"]


def load_published_result(name: str) -> dict[str, Any]:
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


_LONGEST_EXACT = 25


def _parse(text: str) -> Any:
    # Python refuses whole numbers of more than 4300 digits; as a float they are infinite.
    return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONGEST_EXACT else float(digits)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, or None where there is no file.

    Raises:
        ValueError: the file holds no JSON object.
        OSError: it may not be read.
    """
    if not path.is_file():
        return None
    try:
        values = _parse(path.read_text(encoding="utf8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} can't be read: {type(error).__name__}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(
            f"{path.name} can't be read: it holds a {type(values).__name__}, not an object"
        )
    return values


def write_json(path: Path, value: object) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never half of one."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside a file to write to; it takes the file's place at the end of the block.

    If the block fails, the file stays as it was and nothing is left beside it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "facts.json"
        >>> with replacing(path) as part:
        ...     _ = part.write_text("{}")
        >>> [file.name for file in path.parent.iterdir()]
        ['facts.json']
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        # A disk that is full, or gone, must not hide what went wrong.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def data_dir(name: str) -> Path:
    """A folder of ``data/``, in a checkout or in an installed package."""
    here = Path(__file__).parent
    places = (here.parent / "data" / name, here / "embedded_data" / name)
    return next((place for place in places if place.is_dir()), places[0])
