"""What a run keeps of its adapters on the way, so that one can go back in time.

A snapshot holds every trained tensor at one step, in ``snapshots/000120.safetensors`` of the run
folder. How many there are is bounded before the run begins: by a number and by megabytes.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pclora_lab.files import replacing

__all__ = [
    "list_snapshots",
    "load_snapshot",
    "save_snapshot",
    "snapshot_remark",
    "snapshot_steps",
    "trained_tensors",
]

_FOLDER = "snapshots"
# Bytes that a file spends on the name, shape and place of a tensor, at most.
_HEADER = 200


def trained_tensors(student: nn.Module) -> dict[str, Tensor]:
    """A copy of all that is trained, on the CPU, by full parameter name."""
    return {
        name: parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in student.named_parameters()
        if parameter.requires_grad
    }


def trained_bytes(student: nn.Module) -> int:
    """Size of one snapshot's file, headers included."""
    trained = [p for p in student.parameters() if p.requires_grad]
    return sum(p.numel() * p.element_size() + _HEADER for p in trained)


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
    fits = min(count, int(most_bytes // max(each, 1)), steps + 1)
    if fits < 2:
        return ()
    return tuple(dict.fromkeys(round(i * steps / (fits - 1)) for i in range(fits)))


def snapshot_remark(taken: int, wanted: int, each: int, most_mb: float) -> str | None:
    """Says that fewer snapshots are kept than wanted, and why; None if all are."""
    if taken >= wanted:
        return None
    if wanted < 2:
        return "no snapshots are kept: there must be at least two, a first and a last"
    kept = f"{taken} of {wanted} snapshots are kept" if taken else "no snapshots are kept"
    return f"{kept}: each takes {each / 1e6:,.1f} MB, and all together may take {most_mb:g} MB"


def save_snapshot(folder: Path, step: int, tensors: dict[str, Tensor]) -> Path:
    """Write beside, then rename: a reader sees a whole snapshot or none."""
    place = folder / _FOLDER
    place.mkdir(exist_ok=True)
    path = place / f"{step:06}.safetensors"
    with replacing(path) as part:
        save_file(tensors, part)
    return path


def list_snapshots(folder: Path) -> dict[int, Path]:
    """Snapshots of a run folder by step, in order."""
    found = (folder / _FOLDER).glob("*.safetensors")
    return dict(sorted((int(p.stem), p) for p in found if p.stem.isdigit()))


def load_snapshot(path: Path) -> dict[str, Tensor]:
    """The tensors of a snapshot.

    Raises:
        ValueError: the file is damaged; names it.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"snapshot {path.name} can't be read ({error}): delete the file"
        ) from error


@torch.no_grad()
def put_back(student: nn.Module, tensors: dict[str, Tensor], what: str = "snapshot") -> None:
    """Copy what was trained into a student of the same shape.

    Args:
        student: to write to.
        tensors: from :func:`trained_tensors`.
        what: they come from, for the message of an error.

    Raises:
        ValueError: a tensor that the student does not have, or of another shape.
    """
    there = {n: p for n, p in student.named_parameters() if p.requires_grad}
    if missing := sorted(set(there) - set(tensors)):
        raise ValueError(f"the {what} lacks {missing[0]}: it was made with other settings")
    for name, tensor in tensors.items():
        if name not in there or there[name].shape != tensor.shape:
            raise ValueError(
                f"the {what}'s {name} {tuple(tensor.shape)} does not fit the student: it was "
                "made with other settings, or the folder was edited"
            )
        there[name].copy_(tensor)
