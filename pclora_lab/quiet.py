"""Keep libraries from printing into whichever notebook cell happens to run."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator

__all__ = ["quiet"]

# Module, whether its bars are hidden, hide them, show them. Only what is imported is asked.
_BARS = (
    ("datasets", "are_progress_bars_disabled", "disable_progress_bars", "enable_progress_bars"),
    (
        "huggingface_hub.utils",
        "are_progress_bars_disabled",
        "disable_progress_bars",
        "enable_progress_bars",
    ),
)
_TRANSFORMERS = "transformers.utils.logging"


@contextlib.contextmanager
def quiet(*, loggers: Iterable[str] = (), ignore_warnings: bool = False) -> Iterator[None]:
    """Inside, no progress bars of datasets, the hub and transformers, and of its log only errors.

    Args:
        loggers: of other libraries, by name; only their errors are heard.
        ignore_warnings: also leave out Python's warnings, where no reader can act on them.

    Example:
        >>> with quiet(loggers=["chatty"]):
        ...     logging.getLogger("chatty").isEnabledFor(logging.WARNING)
        False
        >>> logging.getLogger("chatty").isEnabledFor(logging.WARNING)
        True
    """
    with contextlib.ExitStack() as stack:
        _hide_bars(stack)
        for name in loggers:
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        if ignore_warnings:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        yield


def _hide_bars(stack: contextlib.ExitStack) -> None:
    for name, are_hidden, hide, show in _BARS:
        library = sys.modules.get(name)
        if library is not None and not getattr(library, are_hidden)():
            getattr(library, hide)()
            stack.callback(getattr(library, show))
    talk = sys.modules.get(_TRANSFORMERS)
    if talk is not None:
        stack.callback(talk.set_verbosity, talk.get_verbosity())
        talk.set_verbosity_error()
        if talk.is_progress_bar_enabled():
            talk.disable_progress_bar()
            stack.callback(talk.enable_progress_bar)
