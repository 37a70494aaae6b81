"""A teacher that was fine-tuned once, in a folder of its own, and looked at before it teaches.

``history.json`` and ``config.json`` say how it came about, ``model.safetensors`` holds its weights
and a hash of all three. What is not as it was written is told, and the teacher made again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pclora_lab.data.splits import hash_of_texts, short_name
from pclora_lab.files import make_folder
from pclora_lab.json_files import parse_json, write_json
from pclora_lab.nn.layers.finite import check_weights_finite
from pclora_lab.remarks import remark
from pclora_lab.tensor_files import load_tensors, read_metadata, save_tensors
from pclora_lab.training.config import RunConfig, read_config, write_config
from pclora_lab.training.events import Row
from pclora_lab.training.identity.hashes import hash_of_tensors
from pclora_lab.wording import listed

__all__ = ["KeptTeacherError", "keep_teacher", "load_kept_teacher", "take_kept_teacher"]

_WEIGHTS, _HISTORY, _CONFIG = "model.safetensors", "history.json", "config.json"

_HASH = "pclora_lab.teacher"


class KeptTeacherError(ValueError):
    """A kept teacher that is not what was written, or none for this model."""


def keep_teacher(model: nn.Module, folder: Path, log: Sequence[Row], config: RunConfig) -> None:
    """Write a fine-tuned model down, for whichever run needs the same teacher.

    Args:
        model: on whatever device.
        folder: named by the teacher's key.
        log: the rows of its fine-tuning.
        config: that it was fine-tuned with.

    Raises:
        OSError: the folder is a link, can't be written, or the disk is full.
        NotFinite: a weight is NaN or infinite.
    """
    check_weights_finite(model, "it is not kept as a teacher; try a smaller teacher_lr")
    make_folder(folder)
    write_json(folder / _HISTORY, list(log))
    # Where they were on this machine says nothing to who shares a teacher.
    named = replace(config, model=short_name(config.model), data=short_name(config.data))
    write_config(folder / _CONFIG, named)
    state = {name: value.detach().cpu().contiguous() for name, value in _weights(model).items()}
    # The weights come last: a folder with them is complete.
    save_tensors(folder / _WEIGHTS, state, {_HASH: _hash(folder, state)})


def _hash(folder: Path, tensors: Mapping[str, Tensor]) -> str:
    """Of the weights and of what was written beside them."""
    texts = [(folder / name).read_text(encoding="utf8") for name in (_HISTORY, _CONFIG)]
    return hash_of_texts(hash_of_tensors(tensors), *texts)


def take_kept_teacher(
    model: nn.Module, folder: Path, *, of_older_version: bool = False
) -> list[Row] | None:
    """Put a kept teacher's weights into the model, if there is one that can be believed.

    One that can't is said in a warning.

    Args:
        model: of the same architecture; left alone where the teacher can't be used.
        folder: named by the teacher's key.
        of_older_version: see :func:`load_kept_teacher`.

    Returns:
        The rows of its fine-tuning; None where it has to be made.
    """
    # The history is written when the fine-tuning is over, and the weights a moment later.
    if not any((folder / name).is_file() for name in (_WEIGHTS, _HISTORY)):
        return None
    try:
        return load_kept_teacher(model, folder, of_older_version=of_older_version)
    except KeptTeacherError as error:
        remark(f"{error}. It is made again")
        return None


def load_kept_teacher(
    model: nn.Module, folder: Path, *, of_older_version: bool = False
) -> list[Row]:
    """Put a kept teacher's weights into the model.

    Args:
        model: of the same architecture; changed in place, and only if all is well.
        folder: named by the teacher's key.
        of_older_version: whether the folder is from before there was a hash of it.

    Returns:
        The rows of its fine-tuning.

    Raises:
        KeptTeacherError: it was cut, edited, is not finite, or is of another model.
    """
    try:
        tensors = load_tensors(folder / _WEIGHTS, remark=False)
        written = read_metadata(folder / _WEIGHTS).get(_HASH)
        log = parse_json((folder / _HISTORY).read_bytes(), _HISTORY)
        read_config(folder / _CONFIG)
        if written is None and not of_older_version:
            raise ValueError("its weights carry no hash")
        if written is not None and written != _hash(folder, tensors):
            raise ValueError("weights, history or config were changed since it was written")
        _require_rows(log)
        _require_fit(tensors, model)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeptTeacherError(f"the kept teacher {folder} can't be used: {error}") from error
    # What is tied to a weight that was kept is that weight.
    tied = {name: value for name, value in model.state_dict().items() if name not in tensors}
    model.load_state_dict({**tied, **tensors})
    return list(log)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """By name, each once: an output layer that is the embedding has the embedding's name."""
    seen: set[tuple[object, ...]] = set()
    weights = {}
    for name, value in model.state_dict().items():
        place = (value.device, value.data_ptr(), value.shape, value.stride())
        if place not in seen or not value.numel():
            weights[name] = value
        seen.add(place)
    return weights


def _require_rows(log: object) -> None:
    if not isinstance(log, list) or not all(isinstance(row, dict) for row in log):
        raise ValueError(f"{_HISTORY} holds no list of rows")


def _require_fit(tensors: Mapping[str, Tensor], model: nn.Module) -> None:
    wanted = _weights(model)
    if odd := sorted(set(tensors) ^ set(wanted)):
        raise ValueError(f"only one of the teacher and the model has {listed(odd)}")
    for name, value in tensors.items():
        if (value.shape, value.dtype) != (wanted[name].shape, wanted[name].dtype):
            raise ValueError(
                f"{name} is {value.dtype} {tuple(value.shape)}, but the model's is "
                f"{wanted[name].dtype} {tuple(wanted[name].shape)}"
            )
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} is not finite")
