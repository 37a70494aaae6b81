"""How many processes run the cells of a comparison, and on which devices."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
from torch import nn

from pclora_lab.data.cache import DataCache
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import available_devices, resolve_device
from pclora_lab.training.precision import pinned
from pclora_lab.training.setup import load_dense

__all__ = ["Workers", "resolved_precision"]

# A process with torch and transformers loaded, before any model.
_BYTES_OF_A_PROCESS = 1.0e9
# Teacher, student, gradients and two moments in float32, and as much for activations.
_BYTES_PER_PARAMETER = 40.0


@dataclass(frozen=True)
class Workers:
    """Processes that run cells side by side.

    Attributes:
        count: of processes; 1 is this one.
        devices: a CUDA device for each of them, or nothing where they compute on a CPU.
    """

    count: int = 1
    devices: tuple[str, ...] = ()

    @classmethod
    def of(cls, count: int | str, devices: Sequence[str] | None, base: RunConfig) -> "Workers":
        """What was asked for, checked against what this machine has.

        Args:
            count: of processes, or ``auto``.
            devices: names, each once; None takes all of the kind that the base computes on.
            base: the configuration of every cell.

        Raises:
            ValueError: no or more workers than devices or cores, a device named twice, unknown or
                not there, or devices of two kinds.
        """
        dealt = _devices(devices, base)
        most = len(dealt) or os.cpu_count() or 1
        if count == "auto":
            return cls._as(max(1, min(most, _in_memory(base))), dealt)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"workers is {count!r}: it must be a whole number from 1 up, or auto")
        if count > most:
            there = f"devices: {', '.join(dealt)}" if dealt else "CPU cores"
            raise ValueError(
                f"workers is {count}, but there are {most} {there}: take at most {most}, or auto"
            )
        return cls._as(count, dealt)

    def environment(self, number: int) -> dict[str, str]:
        """Environment variables of a worker: one thread on a CPU, one GPU to be seen.

        A cell's config stays as it is, so that any worker can take it up.

        Example:
            >>> Workers(2, ("cuda:0", "cuda:1")).environment(1)["CUDA_VISIBLE_DEVICES"]
            '1'
        """
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        if not self.devices:
            return threads
        index = int(self.devices[number].partition(":")[2] or 0)
        seen = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
        return {**threads, "CUDA_VISIBLE_DEVICES": seen[index] if seen else str(index)}

    @classmethod
    def _as(cls, count: int, dealt: tuple[str, ...]) -> "Workers":
        return cls(count, dealt[:count] if count > 1 else ())


def _devices(given: Sequence[str] | None, base: RunConfig) -> tuple[str, ...]:
    """CUDA devices to deal out; nothing where cells compute on the CPU or on one GPU of a Mac."""
    if given is None:
        kind = "cuda" if base.device == "cuda" else resolve_device(base.device).type
        named = base.device.startswith("cuda:")
        all_of_them = [name for name in available_devices() if name.startswith("cuda")]
        return (base.device,) if named else tuple(all_of_them) if kind == "cuda" else ()
    names = [str(resolve_device(name)) for name in given]
    own = resolve_device(base.device)
    if not names or len(set(names)) != len(names):
        raise ValueError(f"devices is {list(given)}: name at least one, and each once")
    kinds = {torch.device(name).type for name in names}
    if len(kinds) > 1:
        raise ValueError(
            f"devices is {list(given)}: runs on devices of two kinds can't be compared; name those "
            "of one"
        )
    if kinds != {own.type} or ":" in base.device:
        raise ValueError(
            f"devices is {list(given)}, but device is {base.device!r}: leave it at "
            f"{'auto' if kinds != {'cpu'} else 'cpu'}, and each worker takes its own"
        )
    return tuple(names) if kinds == {"cuda"} else ()


def _in_memory(base: RunConfig) -> int:
    """How many cells fit into the free memory of this machine, as far as can be told before."""
    model = _dense_model(base)
    if model is None:
        return 1
    parameters = sum(p.numel() for p in model.parameters())
    each = _BYTES_OF_A_PROCESS + _BYTES_PER_PARAMETER * parameters
    return int(psutil.virtual_memory().available / each)


def resolved_precision(base: RunConfig) -> str | None:
    """What ``auto`` stands for, for all cells; None where the model can't be had.

    Example:
        >>> resolved_precision(RunConfig(device="cpu"))
        'float32'
    """
    model = _dense_model(base)
    if model is None:
        return None
    return pinned(base, model, resolve_device(base.device)).precision


def _dense_model(base: RunConfig) -> nn.Module | None:
    """The model of every cell; None where it can't be had, and the first cell says why."""
    try:
        return load_dense(base, DataCache().data(base))
    except (ValueError, OSError):
        return None
