"""Values as an error shows them: whatever was given, its message stays short and can be read."""

import errno
import math
import reprlib
from collections.abc import Sequence
from typing import Any

__all__ = ["brief", "explained", "first_line", "listed", "rounded_up", "shown"]

_LONGEST_MESSAGE = 700
_MOST_DIGITS = 40


class _Shown(reprlib.Repr):
    """Of everything a beginning and an end, and an answer for what has none."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxother, self.maxstring = 4, 160, 160
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 8

    def repr_int(self, x: int, level: int) -> str:
        if abs(x) < 10**_MOST_DIGITS:
            return repr(x)
        # Python refuses to write down more than 4300 digits.
        return f"a whole number of {int(math.log10(abs(x))) + 1} digits"

    def repr_instance(self, x: Any, level: int) -> str:
        try:
            text = repr(x)
        except Exception:  # noqa: BLE001 - somebody else's __repr__
            return f"a {type(x).__name__}"
        return text if len(text) <= self.maxother else brief(text, self.maxother)


_shown = _Shown()


def shown(value: object) -> str:
    """A value as Python writes it, cut in its middle where it is long.

    Example:
        >>> shown("a"), shown([1, 2.5]), shown(10**5000)
        ("'a'", '[1, 2.5]', 'a whole number of 5001 digits')
        >>> len(shown("x" * 10_000))
        160
    """
    return " ".join(_shown.repr(value).split("\n"))


def brief(message: str, longest: int = _LONGEST_MESSAGE) -> str:
    """A message whose middle is cut out if it is long: the reason and the cure stand at its end.

    Example:
        >>> brief("a" * 50 + "the cure", 20)
        'aaaaaaaa … athe cure'
    """
    if len(message) <= longest:
        return message
    half = (longest - 3) // 2
    return f"{message[:half]} … {message[len(message) - (longest - 3 - half) :]}"


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a message, the first of them where there are many.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    first = [brief(name, 60) for name in names[:most]]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more:,} more" if more else "")


def rounded_up(share: float) -> str:
    """The smallest share that works, for a message: rounded up, so that it works as it stands.

    Example:
        >>> rounded_up(1 / 3), rounded_up(0.25)
        ('0.3334', '0.2500')
    """
    return f"{math.ceil(share * 1e4) / 1e4:.4f}"


_OF_DISKS = {
    errno.ENOSPC: "no space is left on the disk: make room",
    errno.EDQUOT: "the quota of the disk is used up: make room",
    errno.EFBIG: "the disk takes no file as large as that: choose another folder",
    errno.EACCES: "permission is denied: allow it, or choose another folder",
    errno.EPERM: "permission is denied: allow it, or choose another folder",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EIO: "the disk does not answer (input/output error): check it, or choose another folder",
    errno.ENOENT: "there is no such file or folder: check its name",
}


def first_line(error: BaseException) -> str:
    """Of an error's message; libraries add lines about debugging them.

    Example:
        >>> first_line(RuntimeError("out of memory.\\nSet CUDA_LAUNCH_BLOCKING=1"))
        'out of memory'
    """
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(". ")


def explained(error: BaseException) -> str:
    """An error's message; of the operating system's errors, which file, why, and what to do.

    Example:
        >>> explained(OSError(errno.ENOSPC, "No space left on device", "runs/a"))
        'runs/a: no space is left on the disk: make room'
        >>> explained(ValueError("rank is 0"))
        'rank is 0'
    """
    if not isinstance(error, OSError) or error.errno is None or error.strerror is None:
        return str(error)
    reason = _OF_DISKS.get(error.errno, error.strerror[:1].lower() + error.strerror[1:])
    return reason if error.filename is None else f"{error.filename}: {reason}"
