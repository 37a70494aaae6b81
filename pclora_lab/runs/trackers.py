"""TensorBoard, Weights & Biases and others, told what a run writes down.

The trackers are accelerate's; this module only says which rows they get, and when. The run folder
stays the truth: a tracker that fails is left out, and the run goes on.
"""

import contextlib
import importlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from PIL import Image

from pclora_lab.data.splits import short_name
from pclora_lab.fields import FieldError
from pclora_lab.files import without_home
from pclora_lab.runs.reader import load_run
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import resolve_device
from pclora_lab.training.events import Event, LogRow, Row, RunEnd
from pclora_lab.wording import shown

__all__ = ["Drawn", "TrackerLogger", "numbers_of", "provide_figures", "require_trackers"]
__all__ += ["tracker_loggers"]

PROJECT = "pclora_lab"

# What a tracker calls the name of one run.
_RUN_NAME = {"wandb": "name", "trackio": "name", "mlflow": "run_name", "swanlab": "experiment_name"}

# For somebody at the terminal; without an answer the run goes on without the tracker.
_LOGIN_SECONDS = "30"

# Where these are told a picture by itself; the others take a list of them.
_ONE_BY_ONE = ("aim", "clearml")


class Drawn(Protocol):
    """A figure, as :class:`pclora_lab.plots.NotebookFigure` is one."""

    def png(self, scale: float) -> bytes: ...


_FIGURES: list[Callable[[Path], Mapping[str, Drawn]]] = []


def provide_figures(draw: Callable[[Path], Mapping[str, Drawn]]) -> None:
    """Let trackers that take pictures get some when a run is over.

    Args:
        draw: from the folder of a run to figures by name; what draws is in a room above this one.
    """
    _FIGURES.append(draw)


class TrackerLogger:
    """Hands a run's rows, its result and its figures to one of accelerate's trackers.

    Rows of the teacher's fine-tuning are named ``teacher/…`` and come first; steps count on through
    both phases, because some trackers refuse a step that is lower than the last one.

    Args:
        name: such as ``tensorboard``.
        folder: of the run; what a tracker keeps in files is put into a folder of its name there.
        config: of the run.
    """

    def __init__(self, name: str, folder: Path, config: RunConfig) -> None:
        self.name, self.folder, self.config = name, folder, config
        self._tracker: GeneralTracker | None = None
        self._before, self._last = 0, 0  # steps of the teacher, and of the newest row

    def log(self, event: Event) -> None:
        """Tell it what belongs there; it is started with the first event."""
        if self._tracker is None:
            self._tracker = self._start()
        if isinstance(event, LogRow):
            self._row(self._tracker, event.values)
        elif isinstance(event, RunEnd):
            self._end(self._tracker, event.result)

    def close(self) -> None:
        """End the tracker's run."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            tracker.finish()

    def _start(self) -> GeneralTracker:
        kind = LOGGER_TYPE_TO_CLASS[self.name]
        more: dict[str, Any] = {}
        if self.name in _RUN_NAME:
            more[_RUN_NAME[self.name]] = self.folder.name
        if self.name == "wandb":
            # Or it makes a folder wherever the process stands, and waits for an answer for good.
            more["dir"] = str(self.folder)
            os.environ.setdefault("WANDB_LOGIN_TIMEOUT", _LOGIN_SECONDS)
        if kind.requires_logging_directory:
            more["logging_dir"] = str(self.folder)
        project = self.name if kind.requires_logging_directory else PROJECT
        # accelerate's trackers ask it which process this is; the first to ask chooses its device.
        PartialState(cpu=resolve_device(self.config.device).type == "cpu")
        tracker = kind(project, **more)
        try:
            tracker.start()
            tracker.store_init_configuration(dict(_settings(self.config.to_dict())))
        except Exception:
            # Or what it has begun would take in the next run of this process.
            with contextlib.suppress(Exception):
                tracker.finish()
            raise
        # A run that is taken up does not train its teacher again.
        self._before = _last_step_of_the_teacher(self.folder)
        return tracker

    def _row(self, tracker: GeneralTracker, row: Row) -> None:
        is_of_teacher = row.get("phase") == "teacher"
        if is_of_teacher:
            self._before = int(row["step"])
        step = int(row["step"]) + (0 if is_of_teacher else self._before)
        prefix = "teacher/" if is_of_teacher else ""
        tracker.log({prefix + key: value for key, value in numbers_of(row)}, step=step)
        self._last = step

    def _end(self, tracker: GeneralTracker, result: Mapping[str, Any]) -> None:
        final = {f"final/{key}": value for key, value in numbers_of(result)}
        tracker.log(final, step=self._last)
        update = getattr(getattr(tracker.tracker, "summary", None), "update", None)
        if callable(update):
            update(final)
        for draw in _FIGURES if _takes_pictures(tracker) else ():
            for name, figure in draw(self.folder).items():
                _show(tracker, name, figure, self._last)


def _takes_pictures(tracker: GeneralTracker) -> bool:
    ways = (hasattr(tracker, "log_images"), hasattr(tracker, "log_figure"))
    return any(ways) or tracker.name == "trackio"


def _show(tracker: GeneralTracker, name: str, figure: Drawn, step: int) -> None:
    """Hand a figure over in the way that the tracker has."""
    if (log_figure := getattr(tracker, "log_figure", None)) is not None:
        log_figure(figure, f"{name}.png")
        return
    with Image.open(io.BytesIO(figure.png(1.0))) as image:
        pixels = np.asarray(image.convert("RGB"))  # (height, width, 3)
    if tracker.name == "trackio":  # accelerate hands it numbers only
        tracker.log({name: importlib.import_module("trackio").Image(pixels)}, step=step)
        return
    more = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
    shown = pixels if tracker.name in _ONE_BY_ONE else pixels[None]
    tracker.log_images({name: shown}, step=step, **more)


def tracker_names(value: str | None) -> tuple[str, ...]:
    """The trackers that a text names, each once.

    Example:
        >>> tracker_names("tensorboard, wandb"), tracker_names(None)
        (('tensorboard', 'wandb'), ())
    """
    return tuple(dict.fromkeys(n for part in (value or "").split(",") if (n := part.strip())))


def tracker_loggers(config: RunConfig, folder: Path) -> list[TrackerLogger]:
    """A logger for each tracker that a configuration names."""
    return [TrackerLogger(name, folder, config) for name in tracker_names(config.log_with)]


def require_trackers(config: RunConfig) -> None:
    """Refuse a run whose trackers are unknown or not installed, before anything is done.

    Raises:
        FieldError: names the tracker, and those there are or how to install it.
    """
    for name in tracker_names(config.log_with):
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(map(str, LOGGER_TYPE_TO_CLASS))
            raise FieldError("log_with", f"unknown tracker {shown(name)}: use {known}")
        if find_spec(name) is None:
            raise FieldError(
                "log_with",
                f"log_with is {config.log_with!r}, but {name} is not installed: pip install "
                f"{name.replace('_', '-')}",
            )


def numbers_of(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a row, those of layers by their path; neither texts nor what is missing.

    Example:
        >>> dict(numbers_of({"step": 3, "lam": 0.5, "task": None, "share": {"fc1": 0.1}}))
        {'step': 3, 'lam': 0.5, 'share/fc1': 0.1}
    """
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from numbers_of(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            yield prefix + key, value


def _settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A configuration in one level, without places on this machine."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            yield prefix + key, without_home(short_name(value))
        else:
            yield prefix + key, value if isinstance(value, int | float) else str(value)


def _last_step_of_the_teacher(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        rows = load_run(folder).rows
        return max((int(row["step"]) for row in rows if row.get("phase") == "teacher"), default=0)
    return 0
