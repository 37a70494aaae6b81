"""Keys as an older version made them, for what it left on the disk."""

import hashlib
import json
from typing import Any

import numpy as np
from torch import nn

from pclora_lab.data.splits import LabeledData
from pclora_lab.fields import Part, values_of
from pclora_lab.training.config import RunConfig

__all__ = ["former_teacher_key"]


def former_teacher_key(model: nn.Module, data: LabeledData, config: RunConfig) -> str:
    """The key of a fine-tuned teacher, and the fingerprint in a checkpoint, as they were."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    settings = values_of(config, Part.TEACHER, stored=True)
    facts = {name.removeprefix("teacher_"): value for name, value in settings.items()}
    facts |= {"model": digest.hexdigest(), "data": _former_hash(data)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _former_hash(data: LabeledData) -> str:
    """Of the training labels and about 17 training examples."""
    digest = hashlib.sha256(data.train.labels.astype(np.int64).tobytes())
    for index in range(0, len(data.train), max(1, len(data.train) // 16)):
        digest.update(_former_bytes(data.train.examples[index]))
    return digest.hexdigest()[:16]


def _former_bytes(example: Any) -> bytes:
    if isinstance(example, tuple):
        return b"\0".join(text.encode() for text in example)
    return example.encode() if isinstance(example, str) else np.asarray(example).tobytes()
