"""How many processes run the cells of a comparison, and on which devices."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil
import torch

from pclora_lab.data.cache import DataCache
from pclora_lab.machine import usable_cores
from pclora_lab.runs.comparison.backend import LOKY, Backend
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import available_devices, resolve_device
from pclora_lab.training.precision import pinned
from pclora_lab.training.setup import load_dense

__all__ = ["Needs", "Workers", "needs_of", "within"]

# A process with torch and transformers loaded, before any model.
_BYTES_OF_A_PROCESS = 1.0e9
# Teacher, student, gradients and two moments in float32, and as much for activations.
_BYTES_PER_PARAMETER = 40.0


@dataclass(frozen=True)
class Needs:
    """What a cell takes on a machine.

    Attributes:
        precision: what ``auto`` stands for there; None where the model can't be had, and the first
            cell says why.
        memory: bytes, as far as can be told before; 0 where it can't.
    """

    precision: str | None
    memory: float


@dataclass(frozen=True)
class Workers:
    """Processes that run cells side by side.

    Attributes:
        count: of processes; None takes as many as there is room for where they run.
        devices: a CUDA device for each of them, or nothing where they compute on a CPU or the
            backend deals out devices.
        backend: what runs them.
    """

    count: int | None = 1
    devices: tuple[str, ...] = ()
    backend: Backend = field(default_factory=Backend)

    @classmethod
    def of(
        cls,
        count: int | str | None,
        devices: Sequence[str] | None,
        base: RunConfig,
        backend: Backend | None = None,
    ) -> "Workers":
        """What was asked for, checked against what this machine has.

        Args:
            count: of processes, or ``auto``; None is 1 where that means this process, else auto.
            devices: names, each once; None takes all of the kind that the base computes on.
            base: the configuration of every cell.
            backend: what runs them; None is this machine's.

        Raises:
            ValueError: no or more workers than devices or cores, a device named twice, unknown or
                not there, or devices of two kinds; devices for a backend that deals them out.
        """
        backend = backend or Backend()
        if count is None:
            count = 1 if backend == Backend() else "auto"
        is_number = isinstance(count, int) and not isinstance(count, bool)
        if count != "auto" and (not is_number or int(count) < 1):
            raise ValueError(f"workers is {count!r}: it must be a whole number from 1 up, or auto")
        if backend.name != LOKY:
            _refuse_named_devices(devices, base, backend)
        if backend.is_elsewhere:
            return cls(None if count == "auto" else int(count), (), backend)
        dealt = _devices(devices, base)
        most = len(dealt) or usable_cores()
        if count == "auto":
            memory = needs_of(base).memory
            count = max(1, min(most, int(_free_memory() / memory))) if memory else 1
        count = within(int(count), most, f"devices: {', '.join(dealt)}" if dealt else "CPU cores")
        return cls(count, dealt[:count] if count > 1 else (), backend)

    @property
    def is_this_process(self) -> bool:
        """Whether cells are run here, one after the other."""
        is_plain = self.backend.name == LOKY and not self.backend.environment
        return self.count == 1 and is_plain

    def environment(self, number: int | None = None) -> dict[str, str]:
        """Environment variables of a worker: one thread on a CPU, one GPU to be seen.

        A cell's config stays as it is, so that any worker can take it up.

        Args:
            number: of the worker, from 0; None where its devices are dealt out by somebody else.

        Example:
            >>> Workers(2, ("cuda:0", "cuda:1")).environment(1)["CUDA_VISIBLE_DEVICES"]
            '1'
        """
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        variables = {**threads, **self.backend.environment}
        if number is None or not self.devices:
            return variables
        index = int(self.devices[number].partition(":")[2] or 0)
        seen = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
        return {**variables, "CUDA_VISIBLE_DEVICES": seen[index] if seen else str(index)}


def within(count: int, most: int, there: str) -> int:
    """The count, if there is room for it.

    Raises:
        ValueError: there is not.

    Example:
        >>> within(2, 4, "CPU cores")
        2
    """
    if count > most:
        raise ValueError(
            f"workers is {count}, but there are {most} {there}: take at most {most}, or auto"
        )
    return count


def _refuse_named_devices(devices: Sequence[str] | None, base: RunConfig, backend: Backend) -> None:
    if devices is None and ":" not in base.device and base.device != "mps":
        return
    given = f"device is {base.device!r}" if devices is None else f"devices is {list(devices)}"
    raise ValueError(
        f"{given}, but {backend.name} gives every worker a device of its own: leave devices out, "
        "and device at auto, cuda or cpu"
    )


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


def _free_memory() -> float:
    return float(psutil.virtual_memory().available)


def needs_of(base: RunConfig) -> Needs:
    """What every cell needs on this machine.

    Example:
        >>> needs_of(RunConfig(device="cpu")).precision
        'float32'
    """
    try:
        model = load_dense(base, DataCache().data(base))
    except (ValueError, OSError):
        return Needs(None, 0.0)
    parameters = sum(p.numel() for p in model.parameters())
    memory = _BYTES_OF_A_PROCESS + _BYTES_PER_PARAMETER * parameters
    return Needs(pinned(base, model, resolve_device(base.device)).precision, memory)
