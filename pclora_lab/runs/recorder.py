"""Writing down what happens in a run, into its folder."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import torch

from pclora_lab.files import write_json
from pclora_lab.models.serialization import save_pretrained
from pclora_lab.runs.checkpoints import CheckpointWriter, remove_checkpoint
from pclora_lab.runs.folder import _recorded, _set_status
from pclora_lab.runs.snapshots import save_snapshot
from pclora_lab.training.events import AdapterSnapshot, Event, LogRow, RunEnd
from pclora_lab.training.optimizer import LossDiverged

__all__ = ["RunRecorder"]


class RunRecorder:
    """Writes down what happens in a run; the status follows how the run ends.

    A stop (the events are closed) or an interrupt leaves status ``stopped``; an exception leaves
    ``failed`` with its message. Until the run has finished there is a checkpoint: of the step at
    which it was stopped, or of some seconds before an interrupt, an error or a kill (a hundred
    times as long as writing takes, and five at least).

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._name = _short(folder)
        # Somebody may change the working directory meanwhile.
        self.folder = Path(os.path.realpath(folder))
        self._checkpoints = CheckpointWriter(self.folder)
        self._is_finished = False

    def record(self, events: Iterator[Event]) -> Iterator[Event]:
        """Pass events through and write them down; whatever ends them goes on to the caller."""
        key = str(self.folder)
        _recorded[key] = threading.current_thread()
        try:
            with (self.folder / "history.jsonl").open("a", encoding="utf8") as history:
                for event in events:
                    if isinstance(event, LogRow):
                        history.write(json.dumps(event.values) + "\n")
                        history.flush()
                    self._write(event)
                    yield event
        except BaseException as error:
            self._note_end(error)
            raise
        finally:
            _recorded.pop(key, None)
        _set_status(self.folder, "finished")

    def _write(self, event: Event) -> None:
        if isinstance(event, AdapterSnapshot):
            tensors = {**event.tensors, "lam": torch.tensor(event.lam)}
            save_snapshot(self.folder, event.step, tensors)
        if isinstance(event, RunEnd):
            event.result["run_dir"] = self._name
            _write_result(self.folder, event)
            _set_status(self.folder, "finished")
            remove_checkpoint(self.folder)
            self._is_finished = True
        self._checkpoints.note(event)

    def _note_end(self, error: BaseException) -> None:
        if isinstance(error, GeneratorExit | KeyboardInterrupt):
            if self._is_finished:
                return
            try:
                # An interrupt may have come in the middle of a step: the last checkpoint is whole,
                # the model is not.
                if isinstance(error, GeneratorExit):
                    self._checkpoints.save()
            finally:
                _set_status(self.folder, "stopped")
            return
        if isinstance(error, LossDiverged):
            remove_checkpoint(self.folder)  # going on from it would only diverge again
        _set_status(self.folder, "failed", f"{type(error).__name__}: {error}")


def _short(folder: Path) -> str:
    """From the working directory, if the folder is in it."""
    path, here = folder.absolute(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _write_result(folder: Path, event: RunEnd) -> None:
    # What a process that was killed while writing it left there would be taken for foreign files.
    shutil.rmtree(folder / "compressed", ignore_errors=True)
    saved = save_pretrained(event.model, folder / "compressed")
    event.result["bytes_on_disk"] = sum(path.stat().st_size for path in saved.iterdir())
    write_json(folder / "result.json", event.result)
