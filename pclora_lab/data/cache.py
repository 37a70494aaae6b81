"""What runs that follow each other share: data and batches."""

import threading
from collections.abc import Callable
from typing import Any

from pclora_lab.data.batches import Batches
from pclora_lab.data.images import Preprocessing
from pclora_lab.data.loading import load_data
from pclora_lab.data.reading.walking import all_files
from pclora_lab.data.sources import local_path
from pclora_lab.data.splits import LabeledData
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

    def data(self, config: object) -> LabeledData:
        """The config's data set: its fields say which of them determine it."""
        settings = values_of(config, Part.DATA)
        name = settings.pop("data")
        key = ("data", name, stamp(name), *settings.items())
        return self.once(key, lambda: load_data(name, **settings))

    def batches(
        self, data: LabeledData, preprocessing: Preprocessing | TextPreprocessing, model: str
    ) -> dict[str, Batches]:
        """The three splits as a model wants them; texts are tokenized once per model's name."""
        how: object = preprocessing
        if isinstance(preprocessing, TextPreprocessing):
            how = (model, stamp(model), preprocessing.max_tokens)
        splits = {"train": data.train, "validation": data.validation, "test": data.test}

        def make() -> tuple[LabeledData, dict[str, Batches]]:
            # With the data, so that no other data can get their number.
            return data, {name: preprocessing.batches(split) for name, split in splits.items()}

        return self.once(("batches", id(data), how), make)[1]


def stamp(name: str) -> tuple[int, ...]:
    """What changes with a file, or with any file of a folder; nothing for other names."""
    path = local_path(name)
    if path is None or not path.exists():
        return ()
    files = [path] if path.is_file() else [path / relative for relative in all_files(path)]
    facts = [(p.stat().st_mtime_ns, p.stat().st_size) for p in files if p.is_file()]
    return (len(facts), max(time for time, _ in facts), sum(n for _, n in facts)) if facts else ()
