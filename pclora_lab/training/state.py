"""What a training changes, as tensors: to look back, and to go on from there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pclora_lab.nn.low_rank import present_names
from pclora_lab.training.identity.record import Identity
from pclora_lab.training.lambda_override import Override
from pclora_lab.training.measuring_plan import evenly
from pclora_lab.training.optimizer import Meter
from pclora_lab.training.precision import LossScaler

__all__ = [
    "Checkpoint",
    "training_state",
    "snapshot_note",
    "snapshot_steps",
    "snapshot_tensors",
    "trained_tensors",
    "load_training_state",
]

# Bytes that a file spends on the name, shape and place of a tensor, at most.
_HEADER = 200


def trained_tensors(student: nn.Module) -> dict[str, Tensor]:
    """A copy of all that is trained, on the CPU, by full parameter name."""
    return {
        name: parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in student.named_parameters()
        if parameter.requires_grad
    }


def snapshot_tensors(student: nn.Module) -> dict[str, Tensor]:
    """:func:`trained_tensors`, and what batch normalization has gathered on the way."""
    gathered = {name: _copy(buffer) for name, buffer in _moving_statistics(student).items()}
    return trained_tensors(student) | gathered


def _moving_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Means and variances that a training changes although they are no parameters, by name."""
    ends = ("running_mean", "running_var")
    return {n: b for n, b in model.named_buffers() if n.rpartition(".")[2] in ends}


def trained_bytes(student: nn.Module) -> int:
    """Size of one snapshot's file, headers included."""
    trained = [p for p in student.parameters() if p.requires_grad]
    moving = _moving_statistics(student).values() if trained else ()
    return sum(t.numel() * t.element_size() + _HEADER for t in (*trained, *moving))


def snapshot_steps(steps: int, count: int, each: int, most_bytes: float) -> tuple[int, ...]:
    """Evenly spaced steps at which a snapshot is taken: the first, the last, and what fits between.

    Args:
        steps: of the training.
        count: how many are wanted.
        each: bytes of one snapshot.
        most_bytes: what all of them may take.

    Returns:
        Steps in order; none if not even two would fit.

    Example:
        >>> snapshot_steps(100, 5, each=10, most_bytes=1000)
        (0, 25, 50, 75, 100)
        >>> snapshot_steps(100, 5, each=10, most_bytes=35)
        (0, 50, 100)
    """
    fits = min(count, int(most_bytes / max(each, 1)), steps + 1)
    if fits < 2:
        return ()
    return evenly(range(steps + 1), fits)


def snapshot_note(taken: int, wanted: int, each: int, most_mb: float) -> str | None:
    """Says that fewer snapshots are kept than wanted, and why; None if all are."""
    if taken >= wanted:
        return None
    if wanted < 2:
        return "no snapshots are kept: there must be at least two, a first and a last"
    kept = f"{taken} of {wanted} snapshots are kept" if taken else "no snapshots are kept"
    return f"{kept}: each takes {each / 1e6:,.1f} MB, and all together may take {most_mb:g} MB"


@torch.no_grad()
def load_trained(student: nn.Module, tensors: dict[str, Tensor], what: str = "snapshot") -> None:
    """Copy what was trained into a student of the same shape.

    Args:
        student: to write to.
        tensors: from :func:`trained_tensors` or :func:`snapshot_tensors`.
        what: they come from, for the message of an error.

    Raises:
        ValueError: a tensor that the student does not have, or of another shape.
    """
    there = _refuse_misfits(student, tensors, what)
    for name, tensor in tensors.items():
        there[name].copy_(tensor)


def _refuse_misfits(
    student: nn.Module, tensors: Mapping[str, Tensor], what: str
) -> dict[str, Tensor]:
    """The student's trained parameters and moving statistics by name; nothing is changed."""
    trained: dict[str, Tensor] = {n: p for n, p in student.named_parameters() if p.requires_grad}
    if missing := sorted(set(trained) - set(tensors)):
        raise ValueError(f"the {what} lacks {missing[0]}: it was made with other settings")
    there = trained | _moving_statistics(student)
    for name, tensor in tensors.items():
        if name not in there or there[name].shape != tensor.shape:
            raise ValueError(
                f"the {what}'s {name} {tuple(tensor.shape)} does not fit the student: it was "
                "made with other settings, or the folder was edited"
            )
    return there


@dataclass(frozen=True)
class Checkpoint:
    """A training between two steps.

    Attributes:
        step: how many steps are done.
        fingerprint: what an older version had in place of ``identity``, which looked at a few
            examples only; empty otherwise.
        overrides: of λ by hand, made and still to come.
        base_dropped: whether the base is gone for good.
        evaluated: how often the accuracy was read.
        seconds: that the run has taken.
        probe_seconds: of these, for looking at the layers.
        tensors: parameters, buffers and moments; see :func:`training_state`.
        identity: what the run is made from; None in a checkpoint of an older version.
    """

    step: int
    fingerprint: str
    overrides: tuple[Override, ...]
    base_dropped: bool
    evaluated: int
    seconds: float
    probe_seconds: float
    tensors: dict[str, Tensor] = field(repr=False)
    identity: Identity | None = None


def training_state(
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    own: Mapping[str, Tensor] | None = None,
    meter: Meter | None = None,
    scaler: LossScaler | None = None,
) -> dict[str, Tensor]:
    """A copy on the CPU: ``trained/<name>``, ``buffer/<name>`` and the optimizer's, by name.

    Args:
        student: that is trained.
        optimizer: of its trained parameters.
        own: what the method keeps beside these, as ``method/<name>``.
        meter: of the loss, as ``meter/<name>``.
        scaler: of the loss, as ``scaler/<name>``.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> sorted(training_state(layer, torch.optim.AdamW(layer.parameters())))
        ['trained/bias', 'trained/weight']
    """
    state = {f"trained/{name}": value for name, value in trained_tensors(student).items()}
    state |= {f"buffer/{name}": _copy(value) for name, value in student.named_buffers()}
    state |= {f"method/{name}": _copy(value) for name, value in (own or {}).items()}
    for kind, kept in (("meter", meter), ("scaler", scaler)):
        state |= {f"{kind}/{name}": v for name, v in (kept.state_dict() if kept else {}).items()}
    for name, parameter in student.named_parameters():
        moments = optimizer.state.get(parameter, {})
        state |= {f"{kind}/{name}": _copy(value) for kind, value in moments.items()}
    return state


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def load_training_state(
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Tensor],
    meter: Meter | None = None,
    scaler: LossScaler | None = None,
) -> dict[str, Tensor]:
    """Put back what :func:`training_state` read; returns what is the method's own.

    Raises:
        ValueError: it is of another student; says which tensor does not fit.
    """
    kinds: dict[str, dict[str, Tensor]] = {"trained": {}, "buffer": {}, "method": {}}
    renamed = present_names(student)
    for name, tensor in state.items():
        kind, _, rest = name.partition("/")
        kinds.setdefault(kind, {})[renamed.get(rest, rest)] = tensor
    trained, buffers, own = (kinds.pop(kind) for kind in ("trained", "buffer", "method"))
    sums, scale = kinds.pop("meter", {}), kinds.pop("scaler", {})
    # What can't be loaded is refused before anything is written.
    _refuse_misfits(student, trained, "checkpoint")
    moments = _moments(student, kinds)
    load_trained(student, trained, "checkpoint")
    for name, buffer in student.named_buffers():
        # A buffer of a layer that was dropped meanwhile is not in the checkpoint.
        if name in buffers and buffers[name].shape == buffer.shape:
            buffer.copy_(buffers[name])
    optimizer.state.update(moments)
    if meter is not None:
        meter.load_state_dict(sums)
    if scaler is not None:
        scaler.load_state_dict(scale)
    return own


def _moments(
    student: nn.Module, kinds: Mapping[str, Mapping[str, Tensor]]
) -> dict[Tensor, dict[str, Tensor]]:
    """The optimizer's state by parameter."""
    found: dict[Tensor, dict[str, Tensor]] = {}
    for name, parameter in student.named_parameters():
        moments = {kind: values[name] for kind, values in kinds.items() if name in values}
        if any(m.ndim > 0 and m.shape != parameter.shape for m in moments.values()):
            raise ValueError(
                f"the checkpoint's moments of {name} do not fit the student: it was edited; start "
                "the run again with the same settings"
            )
        if moments:
            found[parameter] = {k: _beside(v, parameter) for k, v in moments.items()}
    return found


def _beside(moment: Tensor, parameter: Tensor) -> Tensor:
    # The number of steps stays on the CPU, where AdamW keeps it.
    return moment.clone() if moment.ndim == 0 else moment.to(parameter.device, copy=True)
