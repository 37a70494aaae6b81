"""What runs that follow each other share: data, batches, the accuracy of the dense model."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from pclora_lab.batches import Batches
from pclora_lab.config import RunConfig
from pclora_lab.data import LabelledData, Preprocessing, TextPreprocessing, load_data
from pclora_lab.evaluate import accuracy
from pclora_lab.methods import make_method

__all__ = ["DataCache"]


class DataCache:
    """Data sets, decoded or tokenised, shared by runs that follow each other.

    A file or folder that has changed is read again.
    """

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}
        self._locks: dict[Any, threading.Lock] = {}
        self._lock = threading.Lock()

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Made by whoever asks first; others wait for it, but not for what is made beside it."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]

    def data(self, config: RunConfig) -> LabelledData:
        """The config's data set."""
        names = ("image_column", "text_column", "label_column")
        columns = {name: getattr(config, name) for name in names}
        key = ("data", config.data, _stamp(config.data), *columns.values())
        return self._once(key, lambda: load_data(config.data, **columns))

    def batches(
        self, data: LabelledData, preprocessing: Preprocessing | TextPreprocessing, model: str
    ) -> dict[str, Batches]:
        """The three splits as a model wants them; texts are tokenised once per model's name."""
        is_text = isinstance(preprocessing, TextPreprocessing)
        how = (model, _stamp(model), preprocessing.max_tokens) if is_text else preprocessing
        splits = {"train": data.train, "validation": data.validation, "test": data.test}

        def make() -> tuple[LabelledData, dict[str, Batches]]:
            # With the data, so that no other data can get their number.
            return data, {name: preprocessing.batches(split) for name, split in splits.items()}

        return self._once(("batches", id(data), how), make)[1]

    def teacher_accuracy(
        self,
        teacher: nn.Module,
        batches: dict[str, Batches],
        config: RunConfig,
        *,
        final: bool = False,
        accelerator: Accelerator | None = None,
    ) -> float:
        """Of the dense model; read once for all runs that share it.

        Args:
            teacher: the dense model.
            batches: the three splits.
            config: of the run.
            final: on all of the final split, and not on what is evaluated during the training.
            accelerator: for its precision; without it in float32, as a saved model is read.
        """
        split = config.report_on if final else "validation"
        limit = None if final else config.eval_images
        names = (
            "model",
            "data",
            "img_size",
            "max_tokens",
            "split_qkv",
            "teacher",
            "teacher_steps",
            "teacher_lr",
            "report_on",
            "image_column",
            "text_column",
            "label_column",
            "weight_decay",
            "warmup",
            "grad_clip",
            "precision",
        )
        facts = tuple(getattr(config, name) for name in (*names, "teacher_seed", "batch_size"))
        # Methods that start from the pre-trained model see it before any fine-tuning.
        facts += (_stamp(config.model), _stamp(config.data))
        key = (*facts, make_method(config.method).starts_from, split, limit, str(config.device))
        return self._once(key, lambda: accuracy(teacher, batches[split], accelerator, limit=limit))


def _stamp(name: str) -> tuple[int, ...]:
    """What changes with a file, or with any file of a folder; nothing for other names."""
    path = Path(name).expanduser()
    files = [path] if path.is_file() else (p for p in path.rglob("*") if p.is_file())
    facts = [(p.stat().st_mtime_ns, p.stat().st_size) for p in files]
    return (len(facts), max(time for time, _ in facts), sum(n for _, n in facts)) if facts else ()
