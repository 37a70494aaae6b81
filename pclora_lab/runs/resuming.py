"""Taking up a run that was stopped, that failed, or whose process was killed.

One that left no checkpoint is started again in its folder, from its own config.
"""

import contextlib
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pclora_lab.data.cache import DataCache
from pclora_lab.files import file_stamp, given_path
from pclora_lab.json_files import read_json
from pclora_lab.runs.checkpoints import has_checkpoint, load_checkpoint, remove_checkpoint
from pclora_lab.runs.durable.places import home_of_teachers
from pclora_lab.runs.durable.reopening import Reopening, remove_half_written
from pclora_lab.runs.durable.status import set_status
from pclora_lab.runs.execution import Execution, RunLogger
from pclora_lab.runs.folder import is_being_written, is_unbegun
from pclora_lab.runs.reader import load_run
from pclora_lab.runs.recorder import RunRecorder, looked_on
from pclora_lab.runs.trackers import tracker_loggers
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import resolve_device
from pclora_lab.training.events import Row
from pclora_lab.training.lambda_override import LambdaOverride, overrides_in, overrides_to_repeat
from pclora_lab.training.loop import train
from pclora_lab.training.parallel.launch import join, launched
from pclora_lab.training.state import Checkpoint

__all__ = ["Resumption", "can_resume", "read_resumption", "resume"]

# Errors that the same settings meet again.
_REFUSALS = ("LossDiverged:", "ValueError:", "FieldError:", "DataError:")


@dataclass(frozen=True)
class Resumption:
    """What it takes to go on with a run.

    Attributes:
        folder: of the run.
        config: as it was asked for.
        checkpoint: where it is; None where it has to start again.
        rows: the history up to there; what was logged later is trained again.
        lambda_override: λ as it was held, with the moves that are still to be made.
        stamp: of the files when they were read.
    """

    folder: Path
    config: RunConfig
    checkpoint: Checkpoint | None
    rows: tuple[Row, ...]
    lambda_override: LambdaOverride
    stamp: tuple[Any, ...]

    def events(
        self,
        *,
        cache: DataCache | None = None,
        loggers: Iterable[RunLogger] = (),
        allow_changes: bool = False,
    ) -> Execution:
        """Train the rest; everything is written down as before.

        The folder stays as it is until nothing can refuse that any more.
        """
        _require_device(self.folder, self.config)
        # Nothing is written before all processes have read the folder.
        ranks = join(self.config, None if self.checkpoint is None else self.checkpoint.step)
        rest = train(
            self.config,
            home_of_teachers(self.folder),
            cache=cache,
            lambda_override=self.lambda_override,
            checkpoint=self.checkpoint,
            allow_changes=allow_changes,
        )
        if not ranks.is_main:
            return Execution(self.folder, looked_on(self.folder, rest))
        recorder = self._held()
        loggers = [*loggers, *tracker_loggers(self.config, self.folder)]
        return Execution(self.folder, recorder.record(rest, self._reopening()), loggers)

    def _held(self) -> RunRecorder:
        """Nobody else may write there."""
        recorder = RunRecorder(self.folder)
        recorder.hold()
        if _stamp(self.folder) != self.stamp:
            recorder.release()
            raise RuntimeError(
                f"{self.folder.name} has gone on meanwhile: look at it again before it is taken up"
            )
        return recorder

    def _reopening(self) -> Reopening:
        if self.checkpoint is None:
            return Reopening(self.folder, (), None)
        # The lines that tell of later moves are about to be cut off.
        overrides = self.lambda_override.made_and_planned(self.checkpoint.step)
        moved = dataclasses.replace(self.checkpoint, overrides=overrides)
        is_same = overrides == self.checkpoint.overrides
        step = self.checkpoint.step
        return Reopening(self.folder, self.rows, step, None if is_same else moved)


def _require_device(folder: Path, config: RunConfig) -> None:
    try:
        resolve_device(config.device)
    except ValueError as error:
        raise ValueError(
            f'{folder.name} can\'t be taken up: {error} as "device" in its config.json; another '
            "device than before is a change, so it takes --allow-changes (allow_changes=True)"
        ) from error


def _stamp(folder: Path) -> tuple[Any, ...]:
    """Changes when anybody trains in the folder."""
    files = [folder / name for name in ("checkpoint.safetensors", "history.jsonl", "result.json")]
    return tuple(file_stamp(file) for file in files)


def can_resume(folder: Path | str) -> bool:
    """Whether a run ended early, nobody trains it, and it would not fail again at once.

    A look at files; little is read.
    """
    folder = given_path(folder, "folder")
    if (folder / "result.json").is_file() or not (folder / "config.json").is_file():
        return False
    fails_again = not has_checkpoint(folder) and _was_refused(folder)
    return not fails_again and not is_being_written(folder)


def _was_refused(folder: Path) -> bool:
    with contextlib.suppress(ValueError, OSError):
        status = read_json(folder / "status.json") or {}
        return str(status.get("error")).startswith(_REFUSALS)
    return False


def resume(
    folder: Path | str,
    *,
    cache: DataCache | None = None,
    loggers: Iterable[RunLogger] = (),
    allow_changes: bool = False,
) -> Execution:
    """Go on with a run in its folder, to the same end as if it had never stopped.

    Of one that was killed right after its result was written, the checkpoints are removed.

    Args:
        folder: of the run.
        cache: data of earlier runs in this process.
        loggers: told of every event.
        allow_changes: go on even if data, model, preprocessing, teacher or settings are not what
            they were when the run began; the result's notes then say which of them. Another
            version of torch or of this package is only noted.

    Returns:
        The events that are left, to be iterated over; see :func:`pclora_lab.train`.

    Raises:
        FileNotFoundError: no run.
        RuntimeError: it has finished, is being written, or several processes can't find each other.
        ValueError: config or checkpoint can't be read, or are of another version. Later, when the
            events are asked for: what the run is made from changed.
    """
    if launched()[0] == 1:  # several processes only read before they have met
        _remove_leftovers(given_path(folder, "folder"))
    rest = read_resumption(folder)
    return rest.events(cache=cache, loggers=loggers, allow_changes=allow_changes)


def _remove_leftovers(folder: Path) -> None:
    """What is left where a process was killed between a run's result and its end."""
    if (folder / "result.json").is_file() and not is_being_written(folder):
        remove_half_written(folder)
        if has_checkpoint(folder):
            remove_checkpoint(folder)
            set_status(folder, "finished")


def read_resumption(folder: Path | str) -> Resumption:
    """Read where a run is; nothing is changed.

    Raises:
        FileNotFoundError: no run.
        RuntimeError: it has finished, or is being written.
        ValueError: config or checkpoint can't be read, or are of another version.
    """
    folder = given_path(folder, "folder").absolute()
    if is_unbegun(folder):
        raise FileNotFoundError(
            f"{folder.name} ended before its settings were written, so nothing of it is lost: "
            "delete the folder and start the run again"
        )
    stamp, run = _stamp(folder), load_run(folder)
    if run.status == "finished":
        raise RuntimeError(f"{folder.name} has finished: nothing is left to train")
    if is_being_written(folder):
        state = run.state.replace("running", "being trained", 1)
        raise RuntimeError(f"{folder.name} is {state}: wait for it, or stop it first")
    try:
        config = RunConfig.from_dict(run.config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder.name} can't be taken up: {error}") from error
    if not has_checkpoint(folder):
        again = LambdaOverride(overrides_to_repeat(run.rows, config.overrides))
        return Resumption(folder, config, None, (), again, stamp)
    checkpoint = load_checkpoint(folder)
    if not 0 < checkpoint.step <= config.steps:
        raise ValueError(
            f"the checkpoint of {folder.name} is of step {checkpoint.step}, but its config has "
            f"{config.steps} steps: one of the two was edited; start it again"
        )
    rows = tuple(row for row in run.rows if _is_done(row, checkpoint.step))
    lambda_override = LambdaOverride(overrides_to_repeat(run.rows, checkpoint.overrides))
    lambda_override.make_until(checkpoint.step, already_told=len(overrides_in(rows)))
    return Resumption(folder, config, checkpoint, rows, lambda_override, stamp)


def _is_done(row: Row, step: int) -> bool:
    return row.get("phase") != "fade" or (row.get("step") or 0) <= step
