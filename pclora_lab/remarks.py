"""What is worth saying and no reason to end anything: a warning, said once."""

import contextlib
import warnings

__all__ = ["Remarks", "remark"]


def remark(text: str, *, stacklevel: int = 2) -> None:
    """Warn, and go on also where somebody has made errors of warnings.

    Args:
        text: what happened, and what is done about it.
        stacklevel: of :func:`warnings.warn`.
    """
    with contextlib.suppress(Warning):
        warnings.warn(text, stacklevel=stacklevel + 1)


class Remarks:
    """Says of each thing once that it failed, and once more if it went well in between.

    Example:
        >>> remarks = Remarks()
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warnings.simplefilter("always")
        ...     remarks.failed("a plot", "no room for a plot")
        ...     remarks.failed("a plot", "still no room")
        ...     remarks.went_well("a plot")
        ...     remarks.failed("a plot", "no room again")
        >>> [str(one.message) for one in said]
        ['no room for a plot', 'no room again']
    """

    def __init__(self) -> None:
        self._said: set[str] = set()

    def failed(self, what: str, text: str, *, stacklevel: int = 2) -> None:
        """Say the text, unless it was said of this thing before."""
        if what not in self._said:
            self._said.add(what)
            remark(text, stacklevel=stacklevel + 1)

    def went_well(self, what: str) -> None:
        """The next failure is worth saying."""
        self._said.discard(what)
