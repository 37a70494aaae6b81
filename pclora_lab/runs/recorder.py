"""Writing down what happens in a run, into its folder."""

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import torch

from pclora_lab.files import short_path
from pclora_lab.json_files import write_json
from pclora_lab.locks import FolderLock
from pclora_lab.models.serialization import save_pretrained
from pclora_lab.remarks import Remarks
from pclora_lab.runs.checkpoints import CheckpointWriter, remove_checkpoint
from pclora_lab.runs.durable.heartbeat import beating
from pclora_lab.runs.durable.history import HistoryWriter
from pclora_lab.runs.durable.reopening import Reopening, refuse_forked
from pclora_lab.runs.durable.status import set_status
from pclora_lab.runs.folder import _recorded
from pclora_lab.runs.snapshots import save_snapshot
from pclora_lab.staging import remove_folder
from pclora_lab.training.config import write_config
from pclora_lab.training.events import AdapterSnapshot, Event, LogRow, PhaseStart, Resolved, RunEnd
from pclora_lab.training.optimizer import LossDiverged
from pclora_lab.training.parallel.ranks import StoppedElsewhere
from pclora_lab.wording import explained

__all__ = ["RunRecorder", "looked_on"]


class RunRecorder:
    """Writes down what happens in a run; the status follows how the run ends.

    A stop (the events are closed) or an interrupt leaves status ``stopped``; an exception leaves
    ``failed`` with its message. Until the run has finished there is a checkpoint: of the step at
    which it was stopped, or of some seconds before an interrupt, an error or a kill (a hundred
    times as long as writing takes, and five at least).

    What can't be written on the way is said once, and the run goes on. If the result can't be
    written, the checkpoint stays, and a run that is taken up from it writes the result.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._name = short_path(folder)
        # Somebody may change the working directory meanwhile.
        self.folder = Path(os.path.realpath(folder))
        self._checkpoints = CheckpointWriter(self.folder)
        self._lock, self._is_held = FolderLock(self.folder), False
        self._is_finished, self._process = False, os.getpid()
        self._remarks = Remarks()

    def hold(self) -> None:
        """Keep others out of the folder until the run is over.

        Raises:
            RuntimeError: somebody else trains in it.
        """
        if not self._is_held and not self._lock.acquire():
            raise RuntimeError(
                f"{self.folder.name} is being trained by {self._lock.holder}: wait for it, or "
                "stop it first"
            )
        self._is_held = True

    def release(self) -> None:
        """Let others in."""
        self._lock.release()
        self._is_held = False

    def record(
        self, events: Iterator[Event], reopening: Reopening | None = None
    ) -> Iterator[Event]:
        """Pass events through and write them down; whatever ends them goes on to the caller.

        Args:
            events: of the run.
            reopening: of a run that is taken up. What ends before it is over leaves the folder as
                it was.

        Raises:
            RuntimeError: somebody else trains in the folder, or this is a forked child of the
                process that does.
        """
        self.hold()
        key = str(self.folder)
        _recorded[key] = threading.current_thread()
        is_open, rest = reopening is None, events
        try:
            if reopening is not None:
                rest, is_open = (yield from reopening.events(events)), True
            yield from self._write_all(rest)
            self._say_status("finished")
        except BaseException as error:
            if is_open and self._is_own_process:
                self._note_end(error)
            raise
        finally:
            if self._is_own_process:
                if isinstance(events, Generator):
                    events.close()
                _recorded.pop(key, None)
                self.release()

    @property
    def _is_own_process(self) -> bool:
        """False in a forked child, which has a copy of all this; the run is not its own."""
        return os.getpid() == self._process

    def _write_all(self, events: Iterator[Event]) -> Iterator[Event]:
        history = HistoryWriter(self.folder / "history.jsonl")
        with contextlib.closing(history), beating(self.folder / "status.json"):
            for event in events:
                self._write(event, history)
                yield event
                refuse_forked(self.folder, self._process)

    def _write(self, event: Event, history: HistoryWriter) -> None:
        if isinstance(event, Resolved):
            write_config(self.folder / "config.json", event.config)
        if isinstance(event, AdapterSnapshot):
            tensors = {**event.tensors, "lam": torch.tensor(event.lam, device="cpu")}
            self._try("a snapshot", lambda: save_snapshot(self.folder, event.step, tensors))
        if isinstance(event, LogRow):
            self._try("a row of the history", lambda: history.write(event.values))
        elif not history.is_complete:
            self._try("a row of the history", history.flush)
        if isinstance(event, RunEnd):
            self._finish(event, history)
        self._checkpoints.note(event)
        if isinstance(event, PhaseStart) and event.name == "test":
            # From here on the student is taken apart; a lost result is made from this again.
            self._checkpoints.save()

    def _try(self, what: str, write: Callable[[], object]) -> None:
        """Write what the run can do without; that it can't be is said once."""
        try:
            write()
        except OSError as error:
            reason = explained(error)
            text = f"{what} of {self.folder.name} can't be written ({reason}); the run goes on"
            self._remarks.failed(what, text, stacklevel=3)

    def _finish(self, event: RunEnd, history: HistoryWriter) -> None:
        event.result["run_dir"] = self._name
        try:
            history.flush()
            _write_result(self.folder, event)
        except OSError as error:
            raise OSError(
                f"the result of {self.folder.name} can't be written ({explained(error)}). Then "
                f"`pclora-lab resume {self._name}` writes it; nothing is trained again"
            ) from error
        self._is_finished = True
        self._say_status("finished")
        self._try("the end", lambda: remove_checkpoint(self.folder))

    def _note_end(self, error: BaseException) -> None:
        if self._is_finished:
            return
        if isinstance(error, GeneratorExit | KeyboardInterrupt):
            try:
                # An interrupt may have come in the middle of a step: the last checkpoint is whole,
                # the model is not. Other processes are heard between two steps.
                if isinstance(error, GeneratorExit | StoppedElsewhere):
                    self._checkpoints.save()
            finally:
                self._say_status("stopped")
            return
        # What goes wrong from here on must not hide the error.
        if isinstance(error, LossDiverged):
            # Going on from it would only diverge again.
            self._try("the end", lambda: remove_checkpoint(self.folder))
        self._say_status("failed", f"{type(error).__name__}: {explained(error)}")

    def _say_status(self, status: str, error: str | None = None) -> None:
        self._try("the status", lambda: set_status(self.folder, status, error))


def looked_on(folder: Path, events: Iterator[Event]) -> Iterator[Event]:
    """Pass the events of a run on that another process writes into its folder."""
    try:
        for event in events:
            if isinstance(event, RunEnd):
                event.result["run_dir"] = short_path(folder)
            yield event
    finally:
        if isinstance(events, Generator):
            events.close()


def _write_result(folder: Path, event: RunEnd) -> None:
    # What a process that was killed while writing it left there would be taken for foreign files.
    with contextlib.suppress(FileNotFoundError):
        remove_folder(folder / "compressed")
    saved = save_pretrained(event.model, folder / "compressed")
    event.result["bytes_on_disk"] = sum(path.stat().st_size for path in saved.iterdir())
    # Where it is on this machine is nothing to share.
    write_json(folder / "result.json", {**event.result, "run_dir": folder.name})
