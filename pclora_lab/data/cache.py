"""What runs that follow each other share: data and batches."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pclora_lab.data.batches import Batches
from pclora_lab.data.images import Preprocessing
from pclora_lab.data.loading import load_data
from pclora_lab.data.reading.walking import all_files
from pclora_lab.data.sources import local_path, refuse_vague
from pclora_lab.data.splits import LabeledData, Split
from pclora_lab.data.texts import TextPreprocessing
from pclora_lab.fields import Part, values_of

__all__ = ["DataCache"]


class DataCache:
    """Data sets, decoded or tokenized, shared by runs that follow each other.

    A file or folder that has changed is read again.
    """

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}
        self._locks: dict[Any, threading.Lock] = {}
        self._lock = threading.Lock()

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Made by whoever asks first; others wait for it, but not for what is made beside it."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]

    def data(self, config: object, read: Callable[..., LabeledData] | None = None) -> LabeledData:
        """The config's data set: its fields say which of them determine it.

        Args:
            config: of a run.
            read: reads it by name and settings; None: :func:`pclora_lab.load_data`.
        """
        settings = values_of(config, Part.DATA)
        name = settings.pop("data")
        refuse_vague(name)
        key = ("data", read, name, stamp(name), *settings.items())
        return self.once(key, lambda: (read or load_data)(name, **settings))

    def batches(
        self,
        data: LabeledData,
        preprocessing: Preprocessing | TextPreprocessing,
        model: str,
        make_one: Callable[[Split, Any], Batches] | None = None,
    ) -> dict[str, Batches]:
        """The three splits as a model wants them; texts are tokenized once per model's name.

        Args:
            data: from :meth:`data`.
            preprocessing: the model's.
            model: its name.
            make_one: makes batches of a split; None takes the preprocessing's own way.
        """
        splits = {"train": data.train, "validation": data.validation, "test": data.test}

        def make() -> tuple[LabeledData, dict[str, Batches]]:
            # With the data, so that no other data can get their number.
            made = {name: how(split, preprocessing) for name, split in splits.items()}
            return data, made

        how = make_one or _batches
        key = ("batches", id(data), model, preprocessing.fingerprint(), how)
        return self.once(key, make)[1]


def _batches(split: Split, preprocessing: Preprocessing | TextPreprocessing) -> Batches:
    return preprocessing.batches(split)


def stamp(name: str) -> tuple[str, ...]:
    """What changes with a file, or with any file of a folder; nothing for other names.

    Every file counts with its name, size, times and inode, so that one that was replaced by an
    older one of the same size is another one too.
    """
    path = local_path(name.removeprefix("local-dir:"))
    if path is None or not path.exists():
        return ()
    digest = hashlib.sha256()
    files = [Path()] if path.is_file() else sorted(all_files(path))
    for relative in files:
        try:
            facts = (path / relative).stat()
        except OSError:  # a link that leads nowhere
            continue
        seen = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)
        digest.update(f"{relative}\0{seen}\0".encode("utf8", "surrogateescape"))
    return (digest.hexdigest(),)
