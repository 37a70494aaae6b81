"""JSON that is read with care, and written so that everybody can read it: without NaN."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pclora_lab.files import write_text

__all__ = ["parse_json", "read_json", "to_json", "with_nulls", "write_json"]

_LONGEST_EXACT = 25


def parse_json(text: str | bytes, name: object, pairs: Callable[..., Any] | None = None) -> Any:
    """The value of a text that may be anything.

    Args:
        text: of JSON; bytes are taken as UTF-8.
        name: of the text in the error: a file, a field.
        pairs: makes something else than a dict of an object's pairs.

    Raises:
        ValueError: it is no JSON, is not in UTF-8, or is nested too deeply.

    Example:
        >>> parse_json("[" * 10**6, "points")
        Traceback (most recent call last):
        ...
        ValueError: points can't be read: it is nested too deeply
    """
    try:
        word = text if isinstance(text, str) else text.decode("utf8")
        return json.loads(word, parse_int=_whole, object_pairs_hook=pairs)
    except RecursionError:
        reason = "it is nested too deeply"
    except UnicodeDecodeError as error:
        reason = f"it is not in UTF-8 (byte {error.start})"
    except ValueError as error:
        reason = f"it is no JSON: {error}"
    raise ValueError(f"{name} can't be read: {reason}")


def _whole(digits: str) -> int | float:
    # Python refuses whole numbers of more than 4300 digits; as a float they are infinite.
    return int(digits) if len(digits) < _LONGEST_EXACT else float(digits)


def read_json(path: Path, name: object = None) -> dict[str, Any] | None:
    """The object in a file, or None where there is no file.

    Args:
        path: of the file.
        name: of the file in the error; its own without its folder unless given.

    Raises:
        ValueError: the file holds no JSON object.
        OSError: it may not be read.
    """
    if not path.is_file():
        return None
    values = parse_json(path.read_bytes(), name or path.name)
    if not isinstance(values, dict):
        kind = {list: "a list", str: "a text", type(None): "null"}.get(type(values), "a number")
        raise ValueError(f"{name or path.name} can't be read: it holds {kind}, not an object")
    return values


def write_json(path: Path, value: object, *, missing_as_null: bool = False) -> None:
    """Write an object as JSON; see :func:`to_json` and :func:`atomic_write`."""
    text = to_json(value, indent=1, ensure_ascii=False, missing_as_null=missing_as_null)
    write_text(path, text + "\n")


def to_json(value: object, *, missing_as_null: bool = False, **options: Any) -> str:
    """An object as JSON, which has no NaN and no infinity.

    Args:
        value: plain types.
        missing_as_null: write null for such a number, where a reader takes it as not measured.
        options: of :func:`json.dumps`.

    Raises:
        ValueError: a number is NaN or infinite; says where.

    Example:
        >>> to_json({"loss": float("nan")}, missing_as_null=True)
        '{"loss": null}'
        >>> to_json({"rows": [{"loss": float("inf")}]})
        Traceback (most recent call last):
        ...
        ValueError: rows[0].loss is inf, which JSON has no number for
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        odd = next(_not_finite(value, ""), None)
        if odd is None:
            raise
        if not missing_as_null:
            raise ValueError(f"{odd}, which JSON has no number for") from None
    return json.dumps(with_nulls(value), allow_nan=False, **options)


def _not_finite(value: object, place: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{place or 'the value'} is {value}"
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _not_finite(part, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _not_finite(part, f"{place}[{number}]")


def with_nulls(value: Any) -> Any:
    """The same with None for every number that is NaN or infinite.

    Example:
        >>> with_nulls({"loss": float("nan"), "by_layer": [1.0, float("inf")]})
        {'loss': None, 'by_layer': [1.0, None]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: with_nulls(part) for key, part in value.items()}
    return [with_nulls(part) for part in value] if isinstance(value, list | tuple) else value
