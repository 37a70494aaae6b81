"""The file of a saved model's weights: written, checked, read."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from pclora_lab.nn.layers.wrappers import unwrapped
from pclora_lab.tensor_files import sealing, stamp_checksum, verify, warn_unsealed

__all__ = ["check_weights", "checksums_in", "fill_weights", "write_weights"]


def write_weights(model: nn.Module, file: Path) -> None:
    """A model's tensors as safetensors, tied ones once; readable like any other file."""
    save_model(unwrapped(model), str(file), metadata={"format": "pt", **sealing()})
    stamp_checksum(file)
    file.chmod(0o644)  # it is written for its owner alone


def checksums_in(folder: Path) -> dict[str, str]:
    """The checksum of every file of tensors in a folder, for its config.json.

    Raises:
        ValueError: a file that is damaged.
    """
    sums = ((file.name, verify(file)) for file in sorted(folder.glob("*.safetensors")))
    return {name: checksum for name, checksum in sums if checksum is not None}


def check_weights(files: Iterable[Path | str], saved: Mapping[str, Any]) -> None:
    """Refuse weights that are damaged, or of another save than the config.json beside them.

    Args:
        files: with the weights.
        saved: what config.json says; without ``checksums`` it is of an earlier version.

    Raises:
        ValueError: names the file.
    """
    expected = saved.get("checksums")
    for file in map(Path, files):
        found = verify(file)
        if expected is not None and expected.get(file.name) != found:
            raise ValueError(
                f"{file} is not the file that the config.json beside it was written with: save the "
                "model again, or fetch the whole folder again"
            )
        if found is None:
            warn_unsealed(file)


def fill_weights(model: nn.Module, folder: Path) -> None:
    """Read a folder's weights into a model, in the precision that they were saved in.

    Raises:
        ValueError: they do not fit.
    """
    file = folder / "model.safetensors"
    try:
        _take_precision(model, file)
        load_model(model, file)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"the tensors in {folder} do not fit the architecture: {error}") from error


_PRECISIONS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16,
               "BF16": torch.bfloat16}  # fmt: skip


def _take_precision(model: nn.Module, file: Path) -> None:
    """Give every tensor the precision of the file's, or the copy would be in float32."""
    own = model.state_dict(keep_vars=True)
    with safe_open(file, "pt") as tensors:
        for key in tensors.keys():
            dtype = _PRECISIONS.get(tensors.get_slice(key).get_dtype())
            if dtype is not None and key in own and own[key].is_floating_point():
                own[key].data = own[key].data.to(dtype)
