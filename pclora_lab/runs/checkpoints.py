"""Where a run is, so that one that was stopped or killed can be taken up again.

``checkpoint.safetensors`` of the run folder holds what is trained, the moments of its optimizer,
and how far the training and the moves of λ were. The frozen weights are not in it: the config and
its seed make them again. ``checkpoint.previous.safetensors`` is the one before, should the newest
be damaged.
"""

import time
from pathlib import Path
from typing import Any

from torch import Tensor

from pclora_lab.nn.layers.finite import NotFinite
from pclora_lab.remarks import Remarks
from pclora_lab.schema import listed, number_within, optional, record, switch, text, whole
from pclora_lab.training.checkpoints.generations import (
    generations,
    read_newest,
    remove_generations,
    write_generation,
)
from pclora_lab.training.checkpoints.pace import Pace
from pclora_lab.training.events import AdapterSnapshot, Event, LogRow, StepEnd
from pclora_lab.training.identity.record import Identity
from pclora_lab.training.lambda_override import check_overrides
from pclora_lab.training.state import Checkpoint
from pclora_lab.wording import explained

__all__ = ["CheckpointWriter", "has_checkpoint", "load_checkpoint", "save_checkpoint"]

_FILE = "checkpoint.safetensors"
_FORMER_NAMES = {"origin": "fingerprint", "moves": "overrides"}


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint that the disk has when this returns; the one before is kept beside it.

    There is the old checkpoint or the new one, never half of one.

    Raises:
        OSError: the folder can't be written, or the disk is full.
        NotFinite: the training has come to NaN or infinity, and the old one is worth more.
    """
    facts = {name: value for name, value in vars(checkpoint).items() if name != "tensors"}
    facts["identity"] = checkpoint.identity and checkpoint.identity.to_dict()
    write_generation(folder / _FILE, checkpoint.tensors, facts)
    return folder / _FILE


def has_checkpoint(folder: Path) -> bool:
    """Whether there is one; it may be damaged."""
    return bool(generations(folder / _FILE))


def remove_checkpoint(folder: Path) -> None:
    """A run that has finished needs none."""
    remove_generations(folder / _FILE)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read what :func:`save_checkpoint` wrote; where the newest is damaged, the one before it.

    Raises:
        FileNotFoundError: there is none.
        ValueError: all there are are damaged, or not of this package.
    """
    try:
        return read_newest(folder / _FILE, _read)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder.name} has no checkpoint: it ended before the first one was written, or its "
            "method trains nothing. `pclora-lab resume` starts it again"
        ) from None
    except ValueError as error:
        raise ValueError(
            f"the checkpoint of {folder.name} can't be read ({error}): start the run again with "
            "the same settings"
        ) from error


_FACTS = record(
    {
        "step": whole(0, 2**63 - 1),
        "fingerprint": text(),
        "overrides": listed(listed(lambda place, value: None)),
        "base_dropped": switch,
        "evaluated": whole(-1, 2**63 - 1),
        "seconds": number_within(0, 1e12),
        "probe_seconds": number_within(0, 1e12),
    },
    {"identity": optional(record({}))},
)


def _read(facts: dict[str, Any], tensors: dict[str, Tensor]) -> Checkpoint:
    if isinstance(facts, dict):
        facts = {_FORMER_NAMES.get(name, name): value for name, value in facts.items()}
    _FACTS("its facts", facts)
    return Checkpoint(
        step=facts["step"],
        fingerprint=facts["fingerprint"],
        overrides=check_overrides(facts["overrides"]),
        base_dropped=facts["base_dropped"],
        evaluated=facts["evaluated"],
        seconds=facts["seconds"],
        probe_seconds=facts["probe_seconds"],
        tensors=tensors,
        identity=Identity.from_dict(made) if (made := facts.get("identity")) else None,
    )


class CheckpointWriter:
    """Writes a checkpoint now and then, at most 1% of the time, and whenever it is told to.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last: StepEnd | None = None
        self._pace, self._remarks = Pace(), Remarks()

    def note(self, event: Event) -> None:
        """After a step its checkpoint can be had, until there is more to tell."""
        if isinstance(event, StepEnd):
            self._last = event if event.checkpoint is not None else None
            if self._pace.is_due:
                self.save()
        elif isinstance(event, LogRow | AdapterSnapshot):
            self._last = None

    def save(self) -> None:
        """Write where the training is, if it is between two steps.

        A full disk ends no run: it is said once, and tried again later.
        """
        last = self._last
        if last is None or last.checkpoint is None:
            return
        began = time.monotonic()
        try:
            save_checkpoint(self.folder, last.checkpoint())
        except (OSError, NotFinite) as error:
            self._remarks.failed(
                "checkpoint",
                f"no checkpoint of {self.folder.name} could be written at step {last.step}, "
                f"so that it can be taken up from an earlier one at best: "
                f"{explained(error)}. The run goes on; it is tried again later",
            )
            self._pace.failed()
            return
        self._remarks.went_well("checkpoint")
        self._pace.wrote(time.monotonic() - began)
