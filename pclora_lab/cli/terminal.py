"""Output for terminals that lack characters, or that are gone: never an error.

Where λ can't be written, ``lambda`` is.
"""

import codecs
import contextlib
import io
import os
import sys
from typing import Any, TextIO

__all__ = ["lasting", "plain_characters", "process_number", "settle", "tell"]

_PLAIN = {
    "→": "->", "⇢": "->", "±": "+-", "−": "-", "–": "-", "—": "-", "×": "x", "·": "*", "…": "...",
    "λ": "lambda", "α": "alpha", "Δ": "d", "≤": "<=", "≥": ">=", "≈": "~", "’": "'", "“": '"',
    "”": '"', "\xa0": " ", "█": "#",
}  # fmt: skip

_ERRORS = "pclora_lab.plain"


def plain_characters() -> None:
    """Let standard output and error write what their encoding lacks in plain characters.

    Streams that know all characters, or that are no streams of characters, stay as they are.
    """
    codecs.register_error(_ERRORS, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not _knows_all(stream.encoding):
            stream.reconfigure(errors=_ERRORS)


def _knows_all(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith("utf-")


def _replace(error: UnicodeError) -> tuple[str, int]:
    """What an encoder asks for: the replacement, and where to go on.

    Example:
        >>> codecs.register_error(_ERRORS, _replace)
        >>> "λ → 0 ± 1, 日本".encode("ascii", _ERRORS)
        b'lambda -> 0 +- 1, ??'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in lacking), error.end


class _Lasting:
    """A stream whose reader may go away: what can't be written is lost, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def lasting(stream: TextIO | None) -> Any:
    """The same stream, for what is by the way, such as a bar.

    Example:
        >>> closed = io.StringIO()
        >>> closed.close()
        >>> lasting(closed).write("lost")
        4
    """
    return _Lasting(io.StringIO() if stream is None else stream)


def tell(text: str) -> None:
    """Write a line to stderr, if anybody can read it."""
    stream = lasting(sys.stderr)
    stream.write(f"{text}\n")
    stream.flush()


def process_number() -> int:
    """Of this process among those that a launcher has started; 0 speaks for all.

    Example:
        >>> process_number()
        0
    """
    given = (os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK"))
    count, number = (int(value) if value.isdecimal() else 0 for value in given)
    return number if count > 1 else 0


def settle() -> None:
    """Flush both streams; one whose reader is gone must not change the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
