"""Where a run is, so that one that was stopped or killed can be taken up again.

``checkpoint.safetensors`` of the run folder holds what is trained, the moments of its optimiser,
and how far the training and the moves of λ were. The frozen weights are not in it: the config and
its seed make them again.
"""

import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pclora_lab.events import Event, Kept, Row, Tick
from pclora_lab.files import replacing
from pclora_lab.hold import Move, check_moves
from pclora_lab.snapshots import put_back, trained_tensors

__all__ = [
    "Checkpoint",
    "Keeper",
    "has_checkpoint",
    "load_checkpoint",
    "read_state",
    "save_checkpoint",
    "write_state",
]

_FILE = "checkpoint.safetensors"
_SECONDS_BETWEEN = 5.0
_SECONDS_AFTER_FAILURE = 60.0
# Writing may take no more than this share of the time.
_SHARE_FOR_WRITING = 0.01


@dataclass(frozen=True)
class Checkpoint:
    """A training between two steps.

    Attributes:
        step: how many steps are done.
        origin: hash of the dense model, the data and the settings of a teacher that is fine-tuned.
        moves: of λ by hand, made and still to come.
        base_dropped: whether the base is gone for good.
        evaluated: number of the last evaluation.
        seconds: that the run has taken.
        probe_seconds: of these, for looking at the layers.
        tensors: parameters, buffers and moments; see :func:`read_state`.
    """

    step: int
    origin: str
    moves: tuple[Move, ...]
    base_dropped: bool
    evaluated: int
    seconds: float
    probe_seconds: float
    tensors: dict[str, Tensor] = field(repr=False)


def read_state(
    student: nn.Module, optimizer: torch.optim.Optimizer, own: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """A copy on the CPU: ``trained/<name>``, ``buffer/<name>`` and the optimiser's, by name.

    Args:
        student: that is trained.
        optimizer: of its trained parameters.
        own: what the method keeps beside these, as ``method/<name>``.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> sorted(read_state(layer, torch.optim.AdamW(layer.parameters())))
        ['trained/bias', 'trained/weight']
    """
    state = {f"trained/{name}": value for name, value in trained_tensors(student).items()}
    state |= {f"buffer/{name}": _copy(value) for name, value in student.named_buffers()}
    state |= {f"method/{name}": _copy(value) for name, value in (own or {}).items()}
    for name, parameter in student.named_parameters():
        moments = optimizer.state.get(parameter, {})
        state |= {f"{kind}/{name}": _copy(value) for kind, value in moments.items()}
    return state


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def write_state(
    student: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Put back what :func:`read_state` read; returns what is the method's own.

    Raises:
        ValueError: it is of another student; says which tensor does not fit.
    """
    kinds: dict[str, dict[str, Tensor]] = {"trained": {}, "buffer": {}, "method": {}}
    for name, tensor in state.items():
        kind, _, rest = name.partition("/")
        kinds.setdefault(kind, {})[rest] = tensor
    put_back(student, kinds.pop("trained"), "checkpoint")
    for name, buffer in student.named_buffers():
        # A buffer of a layer that was dropped meanwhile is not in the checkpoint.
        if name in kinds["buffer"] and kinds["buffer"][name].shape == buffer.shape:
            buffer.copy_(kinds["buffer"][name])
    del kinds["buffer"]
    own = kinds.pop("method")
    for name, parameter in student.named_parameters():
        moments = {kind: values[name] for kind, values in kinds.items() if name in values}
        if any(m.ndim > 0 and m.shape != parameter.shape for m in moments.values()):
            raise ValueError(
                f"the checkpoint's moments of {name} do not fit the student: it was edited; start "
                "the run again with the same settings"
            )
        if moments:
            optimizer.state[parameter] = {k: _beside(v, parameter) for k, v in moments.items()}
    return own


def _beside(moment: Tensor, parameter: Tensor) -> Tensor:
    # The number of steps stays on the CPU, where AdamW keeps it.
    return moment.clone() if moment.ndim == 0 else moment.to(parameter.device, copy=True)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write beside, then rename: there is the old checkpoint or the new one, never half of one."""
    facts = {name: value for name, value in vars(checkpoint).items() if name != "tensors"}
    with replacing(folder / _FILE) as part:
        save_file(checkpoint.tensors, part, metadata={"pclora_lab": json.dumps(facts)})
    return folder / _FILE


def has_checkpoint(folder: Path) -> bool:
    """Whether there is one; it may be damaged."""
    return (folder / _FILE).is_file()


def remove_checkpoint(folder: Path) -> None:
    """A run that has finished needs none."""
    (folder / _FILE).unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read what :func:`save_checkpoint` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or not of this package.
    """
    path = folder / _FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder.name} has no checkpoint: it ended before the first one was written, or its "
            "method trains nothing. Start it again with the same settings"
        )
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["pclora_lab"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        return Checkpoint(
            step=int(facts["step"]),
            origin=str(facts["origin"]),
            moves=check_moves(facts["moves"]),
            base_dropped=bool(facts["base_dropped"]),
            evaluated=int(facts["evaluated"]),
            seconds=float(facts["seconds"]),
            probe_seconds=float(facts["probe_seconds"]),
            tensors=tensors,
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the checkpoint of {folder.name} can't be read ({type(error).__name__}: {error}): "
            "start the run again with the same settings"
        ) from error


class Keeper:
    """Writes a checkpoint now and then, at most 1 % of the time, and whenever it is told to.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last: Tick | None = None
        self._due = time.monotonic() + _SECONDS_BETWEEN

    def note(self, event: Event) -> None:
        """After a step its checkpoint can be had, until there is more to tell."""
        if isinstance(event, Tick):
            self._last = event if event.checkpoint is not None else None
            if time.monotonic() >= self._due:
                self.save()
        elif isinstance(event, Row | Kept):
            self._last = None

    def save(self) -> None:
        """Write where the training is, if it is between two steps.

        A full disk ends no run: it is tried again later.
        """
        if self._last is None:
            return
        began = time.monotonic()
        try:
            save_checkpoint(self.folder, self._last.checkpoint())
        except (OSError, SafetensorError) as error:
            warnings.warn(
                f"no checkpoint of {self.folder.name} could be written at step {self._last.step}, "
                f"so that it can be taken up from an earlier one at best: {error}. The run goes "
                f"on; in {_SECONDS_AFTER_FAILURE:g} s it is tried again",
                stacklevel=2,
            )
            self._due = time.monotonic() + _SECONDS_AFTER_FAILURE
            return
        now = time.monotonic()
        self._due = now + max(_SECONDS_BETWEEN, (now - began) / _SHARE_FOR_WRITING)
