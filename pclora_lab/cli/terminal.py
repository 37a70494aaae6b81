"""Output for terminals that lack characters: λ becomes ``lambda`` there, never an error."""

import codecs
import io
import sys

__all__ = ["plain_characters"]

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
