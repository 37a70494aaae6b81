"""Where decoded pictures are kept between epochs: in memory, in a file on the disk, or nowhere."""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pclora_lab.remarks import remark
from pclora_lab.wording import explained

__all__ = ["PixelStore", "make_store"]

_MEMORY_BYTES = 2 * 1024**3
# Of what is free, so that whoever else writes to the disk has room too.
_DISK_SHARE = 0.5


class PixelStore:
    """Pictures as bytes, and which of them are there.

    Args:
        pixels: room for all, uint8 ``(pictures, channels, height, width)``.
    """

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self._known = np.zeros(len(pixels), dtype=bool)

    def missing(self, numbers: np.ndarray) -> np.ndarray:
        """Those of the pictures that are not there."""
        return numbers[~self._known[numbers]]

    def put(self, numbers: np.ndarray, pixels: Tensor) -> None:
        """Keep some; a thread that asks meanwhile decodes them once more."""
        self.pixels[torch.as_tensor(numbers, device="cpu")] = pixels
        self._known[numbers] = True

    def get(self, indices: Tensor) -> Tensor:
        """A copy of some that are there."""
        return self.pixels[indices]


def make_store(shape: tuple[int, ...]) -> PixelStore | None:
    """Room for pictures: up to 2 GiB in memory, more on the disk; None where that has no room.

    Args:
        shape: ``(pictures, channels, height, width)``.
    """
    size = int(np.prod(shape))
    if size <= _MEMORY_BYTES:
        return PixelStore(torch.empty(shape, dtype=torch.uint8, device="cpu"))
    folder = _scratch_folder()
    try:
        return PixelStore(_on_disk(folder, shape, size))
    except OSError as error:
        remark(
            f"{shape[0]:,} pictures in the model's size take {size / 1e9:.1f} GB, for which "
            f"{folder} has no room ({explained(error)}): each is decoded anew in every epoch. Set "
            "TMPDIR to a folder with more room, or choose a smaller img_size",
            stacklevel=4,
        )
        return None


def _scratch_folder() -> Path:
    """On a disk: where TMPDIR does not say otherwise, /tmp is the memory's on many machines."""
    usual = Path("/var/tmp")
    if "TMPDIR" not in os.environ and usual.is_dir() and os.access(usual, os.W_OK):
        return usual
    return Path(tempfile.gettempdir())


def _on_disk(folder: Path, shape: tuple[int, ...], size: int) -> Tensor:
    """A file without a name: it is gone with the process, however that ends.

    So nothing of other data, of another size or of a damaged disk is ever read.

    Raises:
        OSError: there is no room.
    """
    free = os.statvfs(folder)
    if size > _DISK_SHARE * free.f_bavail * free.f_frsize:
        raise OSError(f"{free.f_bavail * free.f_frsize / 1e9:.1f} GB are free")
    with tempfile.TemporaryFile(dir=folder) as file:
        # Taken now: a page that finds no room later ends the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="r+", shape=shape))
