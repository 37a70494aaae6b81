"""Two generations of a checkpoint: should the newest be damaged, the one before it is there."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from pclora_lab.json_files import parse_json, to_json
from pclora_lab.nn.layers.finite import NotFinite, first_not_finite
from pclora_lab.remarks import remark
from pclora_lab.tensor_files import load_tensors, read_metadata, save_tensors

__all__ = ["generations", "read_newest", "remove_generations", "write_generation"]

T = TypeVar("T")
_FACTS = "pclora_lab"


def write_generation(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint that the disk has when this returns; the one before is kept beside it.

    There is the old checkpoint or the new one, never half of one.

    Args:
        path: of the newest; the one before is ``….previous.safetensors``.
        tensors: on the CPU.
        facts: plain types, for the header.

    Raises:
        OSError: the folder can't be written, or the disk is full.
        NotFinite: the training has come to NaN or infinity, and the old one is worth more.
    """
    # A buffer may hold infinite values on purpose, such as a mask.
    trained = {name: t for name, t in tensors.items() if not name.startswith("buffer/")}
    if (name := first_not_finite(trained)) is not None:
        raise NotFinite(f"{name} is NaN or infinite, and the one before is worth more")
    save_tensors(path, tensors, {_FACTS: to_json(facts)}, keep_as=_previous(path))


def _previous(path: Path) -> Path:
    return path.with_suffix(f".previous{path.suffix}")


def generations(path: Path) -> list[Path]:
    """Those that are there, the newest first; they may be damaged."""
    return [file for file in (path, _previous(path)) if file.is_file()]


def read_newest(path: Path, use: Callable[[dict[str, Any], dict[str, Tensor]], T]) -> T:
    """What ``use`` makes of facts and tensors of the newest one that can be read.

    Args:
        path: of the newest.
        use: raises KeyError, TypeError or ValueError where it can't be used.

    Raises:
        ValueError: none of them can be read; says why the newest can't.
        FileNotFoundError: there is none.
    """
    errors: list[Exception] = []
    for file in generations(path):
        try:
            tensors = load_tensors(file)  # first, as it tells damage from other contents
            found = use(parse_json(read_metadata(file)[_FACTS], "its state"), tensors)
        except (OSError, KeyError, TypeError, ValueError) as error:
            errors.append(error)
            continue
        if errors:
            text = f"{path} can't be used ({errors[0]}): the one before it is taken"
            remark(text, stacklevel=3)
        return found
    if not errors:
        raise FileNotFoundError(f"there is no {path}")
    raise ValueError(f"{type(errors[0]).__name__}: {errors[0]}") from errors[0]


def remove_generations(path: Path) -> None:
    """Remove both."""
    for file in generations(path):
        file.unlink(missing_ok=True)
