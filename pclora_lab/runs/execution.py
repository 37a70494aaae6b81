"""One way to run a configuration: a new folder, the training, everything written down.

The command line, a session, a comparison and whoever takes up a run go through here. A *logger* is
told every event beside the folder; those of trackers (``RunConfig.log_with``) are in
:mod:`pclora_lab.runs.trackers`.
"""

import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from pclora_lab.data.cache import DataCache
from pclora_lab.files import given_path
from pclora_lab.remarks import remark
from pclora_lab.runs.durable.places import settled
from pclora_lab.runs.folder import new_run_folder
from pclora_lab.runs.recorder import RunRecorder, looked_on
from pclora_lab.runs.trackers import require_trackers, tracker_loggers
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import resolve_device
from pclora_lab.training.events import Event
from pclora_lab.training.lambda_override import LambdaOverride
from pclora_lab.training.loop import train
from pclora_lab.training.parallel.launch import join
from pclora_lab.wording import explained

__all__ = ["Execution", "RunLogger", "execute"]


class RunLogger(Protocol):
    """Somebody who wants to hear what happens in a run."""

    def log(self, event: Event) -> None:
        """Called with every event, after it was written down."""

    def close(self) -> None:
        """Called when the run is over, however it ended."""


class Execution(Iterator[Event]):
    """The events of a run, in its folder; nothing happens before the first is asked for.

    Args:
        folder: of the run.
        events: as they are recorded.
        loggers: told of each event. One that raises is left out from then on, with a warning: it
            ends no run.

    Attributes:
        folder: of the run.
    """

    def __init__(
        self, folder: Path, events: Iterator[Event], loggers: Iterable[RunLogger] = ()
    ) -> None:
        self.folder = folder
        self._events = _told(events, list(loggers))

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """Stop the run; what was logged is kept, and a checkpoint to go on from."""
        self._events.close()


def execute(
    config: RunConfig,
    root: Path | str = "runs",
    *,
    name: str | None = None,
    teachers: Path | str | None = None,
    cache: DataCache | None = None,
    lambda_override: LambdaOverride | None = None,
    loggers: Iterable[RunLogger] = (),
) -> Execution:
    """Make a run folder and run a configuration into it.

    Of several processes that a launcher has started the first one writes, and tells the loggers.

    Args:
        config: what to do; relative paths in it are made whole, so that the run can be taken up
            from any folder.
        root: folder of runs.
        name: of the run's folder; None takes one from the settings. A number is added if the name
            is taken.
        teachers: fine-tuned teachers are kept in ``teachers/teachers``; None takes the root.
        cache: data of earlier runs in this process.
        lambda_override: lets another thread take λ into its hand.
        loggers: told of every event.

    Returns:
        The run's events, to be iterated over; see :func:`pclora_lab.train`.

    Raises:
        ValueError: the device is unknown or not there, a tracker is not installed, or the root is
            an empty text.
        RuntimeError: several processes that can't find each other, or that train different runs.
        OSError: the folder can't be written.

    Example:
        >>> import tempfile
        >>> class Steps:
        ...     last = 0
        ...     def log(self, event):
        ...         self.last = max(self.last, getattr(event, "step", 0))
        ...     def close(self):
        ...         print(f"{self.last} steps")
        >>> config = RunConfig(steps=2, evaluations=1, eval_images=16, device="cpu")
        >>> *_, end = execute(config, tempfile.mkdtemp(), loggers=[Steps()])
        2 steps
        >>> end.result["steps"]
        2
    """
    root = given_path(root, "root")
    home = root if teachers is None else given_path(teachers, "teachers")
    resolve_device(config.device)
    require_trackers(config)
    config = settled(config)
    ranks = join(config)
    folder = Path(ranks.by_main(lambda: str(new_run_folder(root, config, name=name))))
    events = train(config, home, cache=cache, lambda_override=lambda_override)
    if not ranks.is_main:
        return Execution(folder, looked_on(folder, events))
    loggers = [*loggers, *tracker_loggers(config, folder)]
    return Execution(folder, RunRecorder(folder).record(events), loggers)


def _told(events: Iterator[Event], loggers: list[RunLogger]) -> Generator[Event, None, None]:
    process = os.getpid()
    try:
        for event in events:
            for logger in tuple(loggers):
                if not _try(logger, "log", event):
                    loggers.remove(logger)
                    _try(logger, "close")
            yield event
    finally:
        # Explicitly, so that the folder is in order before this returns.
        if isinstance(events, Generator):
            events.close()
        # A forked child has copies of them, which would tell the tracker that the run is over.
        for logger in loggers if os.getpid() == process else ():
            _try(logger, "close")


def _try(logger: RunLogger, verb: str, *args: Event) -> bool:
    """Whether the logger did it; by-products never end a run."""
    try:
        getattr(logger, verb)(*args)
    except Exception as error:  # noqa: BLE001 - somebody else's code
        remark(
            f"{type(logger).__name__}.{verb} failed ({type(error).__name__}: {explained(error)}); "
            "the run goes on without it"
        )
        return False
    return True
