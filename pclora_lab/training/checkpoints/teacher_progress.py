"""How far the fine-tuning of a teacher is, kept where the teacher will be.

``checkpoint.safetensors`` in the teacher's own folder holds weights, moments and the rows so far.
Whichever run needs this teacher next goes on from there, to the same bits.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab.files import make_folder
from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.remarks import Remarks, remark
from pclora_lab.training.checkpoints.generations import (
    read_newest,
    remove_generations,
    write_generation,
)
from pclora_lab.training.checkpoints.pace import Pace
from pclora_lab.training.events import Row
from pclora_lab.training.optimizer import Meter
from pclora_lab.training.precision import LossScaler
from pclora_lab.training.state import load_training_state, training_state
from pclora_lab.wording import explained

__all__ = ["TeacherProgress"]

_FILE = "checkpoint.safetensors"


class TeacherProgress:
    """A fine-tuning under way, written down now and then.

    Args:
        folder: of the teacher that is being made; its name is the teacher's key.
        model: that is fine-tuned, in place.
        optimizer: of its parameters.
        meter: of its loss.
        scaler: of its loss.
        writes: False in a process that leaves writing to another one.

    Attributes:
        step: steps that are done.
        log: rows of the history so far.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        meter: Meter,
        scaler: LossScaler,
        *,
        writes: bool = True,
    ) -> None:
        self.folder, self.model, self.optimizer = folder, model, optimizer
        self.meter, self.scaler = meter, scaler
        self.step, self.log = 0, list[Row]()
        self._written, self._pace, self._process = 0, Pace(), os.getpid() if writes else None
        self._remarks = Remarks()

    def take_up(self, steps: int) -> None:
        """Go on from where an earlier run left off, if it did; what can't be read is said.

        Args:
            steps: of the whole fine-tuning.
        """
        path = self.folder / _FILE
        try:
            found = read_newest(path, lambda facts, tensors: self._use(facts, tensors, steps))
        except FileNotFoundError:
            return
        except ValueError as error:
            remark(
                f"the fine-tuning of teacher {self.folder.name} begins anew: {path} can't be "
                f"used ({error})"
            )
            return
        self.step, self.log = found
        self._written = self.step

    def _use(
        self, facts: dict[str, Any], tensors: dict[str, Tensor], steps: int
    ) -> tuple[int, list[Row]]:
        step, log = facts["step"], facts["log"]
        if facts["key"] != self.folder.name or not isinstance(step, int) or not 0 < step <= steps:
            raise ValueError("it is of another teacher")
        if not isinstance(log, list) or not all(isinstance(row, dict) for row in log):
            raise ValueError("its rows are none")
        load_training_state(self.model, self.optimizer, tensors, self.meter, self.scaler)
        return step, log

    def note(self, step: int, row: Row | None) -> None:
        """A step is done; its row comes along where one was due."""
        self.step = step
        if row is not None:
            self.log.append(row)
        if self._pace.is_due:
            self.save()

    def save(self) -> None:
        """Write where the fine-tuning is, between two steps.

        A full disk ends no run: it is said once, and tried again later.
        """
        # A forked child has a copy of everything, but writing is not for it.
        if self.step == self._written or os.getpid() != self._process:
            return
        began = time.monotonic()
        facts = {"key": self.folder.name, "step": self.step, "log": self.log}
        state = training_state(self.model, self.optimizer, meter=self.meter, scaler=self.scaler)
        try:
            make_folder(self.folder)
            write_generation(self.folder / _FILE, state, facts)
        except (OSError, NotFinite) as error:
            self._pace.failed()
            self._remarks.failed(
                "checkpoint",
                f"no checkpoint of teacher {self.folder.name} could be written at step "
                f"{self.step}: {explained(error)}. The fine-tuning goes on, and it is tried again",
            )
            return
        self._remarks.went_well("checkpoint")
        self._written = self.step
        self._pace.wrote(time.monotonic() - began)

    def remove(self) -> None:
        """Nothing is left to take up; what can't be removed is in nobody's way."""
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            remove_generations(self.folder / _FILE)
