"""What a run keeps of its adapters on the way, so that one can go back in time.

A snapshot holds every trained tensor at one step, in ``snapshots/000120.safetensors`` of the run
folder. How many there are is bounded before the run begins: by a number and by megabytes.
"""

from pathlib import Path

from torch import Tensor

from pclora_lab.files import make_folder
from pclora_lab.tensor_files import load_tensors, save_tensors

__all__ = ["list_snapshots", "load_snapshot", "save_snapshot"]

_FOLDER = "snapshots"


def save_snapshot(folder: Path, step: int, tensors: dict[str, Tensor]) -> Path:
    """Write beside, then rename: a reader sees a whole snapshot or none."""
    snapshots = make_folder(folder / _FOLDER)
    path = snapshots / f"{step:06}.safetensors"
    # Not worth waiting for the disk: a run can do without.
    save_tensors(path, tensors, durable=False)
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
        return load_tensors(path)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"snapshot {path.name} can't be read ({error}): delete the file"
        ) from error
