"""What runs and fine-tuned teachers take on the disk, and how to get it back."""

import os
from collections.abc import Iterator
from pathlib import Path

from pclora_lab.files import given_path
from pclora_lab.runs.reader import TEACHERS_FOLDER

__all__ = ["disk_facts"]

_UNFINISHED = ("checkpoint.safetensors", "checkpoint.previous.safetensors")


def disk_facts(root: Path | str) -> dict[str, str]:
    """Megabytes of the runs and teachers below a folder; links are not followed.

    Args:
        root: folder of runs.

    Returns:
        Name → text; empty where there is no such folder.

    Example:
        >>> disk_facts("no/such/folder")
        {}
    """
    root = given_path(root, "root")
    if not root.is_dir():
        return {}
    runs, teachers = [0, 0], [0, 0]  # folders, bytes
    parts = {"snapshots": 0, "checkpoints": 0}
    for folder in _folders(root):
        is_teachers = folder.name == TEACHERS_FOLDER
        counted = teachers if is_teachers else runs
        counted[0] += len(list(_folders(folder))) if is_teachers else 1
        for path, size in _files(folder):
            counted[1] += size
            if not is_teachers and path.parent.name == "snapshots":
                parts["snapshots"] += size
            elif not is_teachers and path.name in _UNFINISHED:
                parts["checkpoints"] += size
    return {
        f"runs in {root}": f"{runs[0]}, {runs[1] / 1e6:,.1f} MB (snapshots "
        f"{parts['snapshots'] / 1e6:,.1f}, checkpoints {parts['checkpoints'] / 1e6:,.1f}); to free "
        "it, delete runs in the lab's browser, or their folders; a run without snapshots/ only "
        "loses its way back in time, and without checkpoint.* it starts again",
        f"teachers in {root / TEACHERS_FOLDER}": f"{teachers[0]}, {teachers[1] / 1e6:,.1f} MB; to "
        "free it, delete their folders: a run that needs one fine-tunes it again",
    }


def _folders(root: Path) -> Iterator[Path]:
    with os.scandir(root) as entries:
        yield from (Path(e.path) for e in entries if e.is_dir(follow_symlinks=False))


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file with its size; what may not be read, or is gone meanwhile, is left out."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            try:
                yield path, path.lstat().st_size
            except OSError:
                continue
