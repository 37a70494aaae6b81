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

__all__ = ["record"]


def record(events: Iterator[Event], folder: Path) -> Iterator[Event]:
    """Pass events through and write them down; the status follows how the run ends.

    Closing the generator (a stop) or an interrupt leaves status ``stopped``; an exception leaves
    ``failed`` with its message. Both go on to the caller. Until the run has finished there is a
    checkpoint: of the step at which it was stopped, or of some seconds before an interrupt, an
    error or a kill (a hundred times as long as writing takes, and five at least).
    """
    finished, place = False, os.path.realpath(folder)
    name = _short(folder)
    folder = Path(place)  # somebody may change the working directory meanwhile
    keeper = CheckpointWriter(folder)
    _recorded[place] = threading.current_thread()
    try:
        with (folder / "history.jsonl").open("a", encoding="utf8") as history:
            for event in events:
                if isinstance(event, LogRow):
                    history.write(json.dumps(event.values) + "\n")
                    history.flush()
                if isinstance(event, AdapterSnapshot):
                    tensors = {**event.tensors, "lam": torch.tensor(event.lam)}
                    save_snapshot(folder, event.step, tensors)
                if isinstance(event, RunEnd):
                    event.result["run_dir"] = name
                    _write_result(folder, event)
                    _set_status(folder, "finished")
                    remove_checkpoint(folder)
                    finished = True
                keeper.note(event)
                yield event
    except GeneratorExit:
        if not finished:
            try:
                keeper.save()
            finally:
                _set_status(folder, "stopped")
        raise
    except KeyboardInterrupt:
        # It may have come in the middle of a step: the last checkpoint is whole, the model is not.
        if not finished:
            _set_status(folder, "stopped")
        raise
    except BaseException as error:
        if isinstance(error, LossDiverged):
            remove_checkpoint(folder)  # going on from it would only diverge again
        _set_status(folder, "failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        _recorded.pop(place, None)
    _set_status(folder, "finished")


def _short(folder: Path) -> str:
    """From the working directory, if the folder is in it."""
    path, here = folder.absolute(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _write_result(folder: Path, event: RunEnd) -> None:
    # What a process that was killed while writing it left there would be taken for foreign files.
    shutil.rmtree(folder / "compressed", ignore_errors=True)
    place = save_pretrained(event.model, folder / "compressed")
    event.result["bytes_on_disk"] = sum(path.stat().st_size for path in place.iterdir())
    write_json(folder / "result.json", event.result)
