"""What goes through the cache of the datasets library: the hub, and tables larger than memory."""

import atexit
import glob
import os
import shutil
import tempfile
import urllib.request
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from huggingface_hub import constants

from pclora_lab.data.account import DataError
from pclora_lab.quiet import quiet

__all__ = ["cache_folders", "cached_parquet", "hub_answers", "in_hub_cache", "read_hub"]


def read_hub(name: str) -> dict[str, Any]:
    """All splits of a data set on the hub.

    Raises:
        DataError: what is there can't be read, or its README names files of another place.
        ConnectionError: the hub can't be reached or does not have it.
    """
    try:
        with quiet():
            builder = datasets.load_dataset_builder(name, cache_dir=_cache_folder())
            _require_own_files(builder, name)
            builder.download_and_prepare()
            return dict(builder.as_dataset())
    # A data set that is code, or an edited description of it in the cache.
    except (RuntimeError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"data {name!r} on the hub can't be read: {error}") from error
    except (
        ConnectionError,
        datasets.exceptions.DatasetNotFoundError,
        # What offline mode says of a name that the cache does not hold.
        FileNotFoundError,
    ) as error:
        raise ConnectionError(
            f"data {name!r} is no file or folder here, and the hub can't be reached or does not "
            "have it. Offline, use digits or a folder or file of your own, or glosses for texts. "
            f"({error})"
        ) from error


def _require_own_files(builder: datasets.DatasetBuilder, name: str) -> None:
    """Refuse a data set whose README sends the reader elsewhere, such as to files of this machine.

    Raises:
        DataError: names the file.
    """
    ids = {name.lower(), str(getattr(builder, "repo_id", None) or name).lower()}
    for files in (builder.config.data_files or {}).values():
        for file in map(str, files):
            place, _, rest = file.rpartition("::")[2].partition("://")
            repository = rest.partition("@")[0].removeprefix("datasets/").lower()
            if place != "hf" or repository not in ids:
                raise DataError(
                    f"data {name!r} on the hub names {file!r} as a file of its own, which is not "
                    "in its repository: nothing there is read. Read that file by its own name, if "
                    "you mean it"
                )


def hub_answers(seconds: float = 3.0) -> bool:
    """Whether the hub can be reached now; False in its offline mode.

    Args:
        seconds: to wait for an answer at most.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        with urllib.request.urlopen(request, timeout=seconds):
            return True
    except (OSError, ValueError):  # no network, no name, no answer, a refusal, an odd address
        return False


def in_hub_cache(*repositories: str) -> bool:
    """Whether files of all these repositories are on this machine.

    Args:
        repositories: as their folders are called, such as ``datasets--uoft-cs--cifar10``.

    Example:
        >>> in_hub_cache("models--nobody--nothing")
        False
    """
    folders = [Path(constants.HF_HUB_CACHE, name, "snapshots") for name in repositories]
    return all(folder.is_dir() and any(folder.iterdir()) for folder in folders)


def cache_folders() -> tuple[Path, ...]:
    """Where files of the hub are kept on this machine: what its tables may name."""
    places = (_cache_folder(), datasets.config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE)
    return tuple(Path(place) for place in places if place is not None)


def cached_parquet(path: Path) -> pa.Table:
    """A parquet file as pages on the disk, which are read when they are needed."""
    with quiet():
        made = datasets.load_dataset(
            "parquet", data_files=[glob.escape(str(path))], split="train", cache_dir=_cache_folder()
        )
    return made.data.table


@lru_cache(maxsize=1)
def _cache_folder() -> str | None:
    """None for the usual place; without a home that can be written, one until the process ends."""
    usual = Path(datasets.config.HF_DATASETS_CACHE)
    try:
        usual.mkdir(parents=True, exist_ok=True)
        if os.access(usual, os.W_OK):
            return None
    except OSError:
        pass
    folder = tempfile.mkdtemp(prefix="pclora_lab_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
