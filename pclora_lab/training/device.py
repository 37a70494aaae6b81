"""Where a run computes, and in which precision: names to an ``accelerate`` object."""

import contextlib
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from torch import nn

from pclora_lab.machine import processor
from pclora_lab.nn.runtime.plain_attention import plain_attention
from pclora_lab.training.config import RunConfig
from pclora_lab.training.precision import AUTOCAST_DTYPES, pinned, require_precision
from pclora_lab.wording import first_line

__all__ = [
    "available_devices",
    "device_errors_explained",
    "hardware_name",
    "make_accelerator",
    "memory_mb",
    "resolve_device",
]

_making = threading.Lock()


_PROC_STATUS = Path("/proc/self/status")


class _OwnAccelerator(Accelerator):
    """Keeps its device and precision to itself.

    accelerate holds both in one state per process, so a second run on another device would move
    the first one there.
    """

    def __init__(self, device: torch.device, precision: str) -> None:
        # A launcher's variable would divide every loss by its number of steps.
        once = GradientAccumulationPlugin(num_steps=1)
        super().__init__(
            cpu=device.type == "cpu", mixed_precision="no", gradient_accumulation_plugin=once
        )
        self.state.__dict__ = {**self.state.__dict__, "device": device}
        self.precision = precision

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """bfloat16 or float16 inside, if that is the run's precision."""
        kind, dtype = self.device.type, AUTOCAST_DTYPES.get(self.precision)
        is_half_on_cpu = dtype is not None and kind == "cpu"
        attention = plain_attention() if is_half_on_cpu else contextlib.nullcontext()
        with torch.autocast(kind, dtype=dtype, enabled=dtype is not None), attention:
            yield


def available_devices() -> list[str]:
    """Names that :func:`resolve_device` accepts here, the fastest first."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def hardware_name(device: torch.device) -> str:
    """What a device is: the name of a GPU, or of the CPU with its cores.

    Example:
        >>> hardware_name(torch.device("cpu")) == processor()
        True
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"GPU of {processor()}" if device.type == "mps" else processor()


def resolve_device(name: str) -> torch.device:
    """``auto`` takes the fastest there is; of several processes each takes a GPU of its own.

    Raises:
        ValueError: an unknown device, or one that this machine or this build of torch lacks.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    there = available_devices()
    full = there[0] if name == "auto" else name
    if full == "cuda" or (name == "auto" and full.startswith("cuda")):
        full = f"cuda:{_own_gpu()}"
    if full in there:
        return torch.device(full)
    if not str(name).startswith(("cuda", "mps")):
        raise ValueError(f"unknown device {name!r}: use auto or one of {', '.join(there)}")
    reason = "torch finds no such device here"
    if full.startswith("cuda") and torch.version.cuda is None:
        reason = "this build of torch has no CUDA support"
    raise ValueError(f"device {name!r} is not available: {reason}. Use auto or {', '.join(there)}")


def _own_gpu() -> int:
    """The first, or the one that a launcher means this process to take."""
    place, count = os.environ.get("LOCAL_RANK", ""), torch.cuda.device_count()
    return int(place) % count if place.isdecimal() and count else 0


@contextmanager
def device_errors_explained(config: RunConfig) -> Iterator[None]:
    """Say what failed and what to do where a GPU is lost, or too small for the run.

    Raises:
        RuntimeError: torch's own error inside is of the device.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"the memory of device={config.device!r} is too small for this run "
            f"({first_line(error)}): use recompute=True, a smaller batch_size than "
            f'{config.batch_size}, or precision="bfloat16"'
        ) from error
    except torch.AcceleratorError as error:
        raise RuntimeError(
            f"device={config.device!r} failed ({first_line(error)}), and this process can't use "
            "it any more: look at it with nvidia-smi, then go on from the last checkpoint in a new "
            "process, with pclora-lab resume and the run's folder"
        ) from error


def make_accelerator(config: RunConfig, model: nn.Module) -> Accelerator:
    """An ``accelerate`` object for the config's device and precision.

    Raises:
        ValueError: see :func:`resolve_device`; or a precision that the device does not have.
    """
    device = resolve_device(config.device)
    precision = pinned(config, model, device).precision
    require_precision(precision, device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    reset_peak_memory(device)
    with _making:
        # accelerate refuses a second device in one process otherwise.
        AcceleratorState._reset_state(reset_partial_state=True)
        return _OwnAccelerator(device, precision)


def memory_mb(device: torch.device) -> float:
    """Memory held now, in MB: allocated by torch on a GPU, resident of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 1e6
    if device.type == "mps":
        return torch.mps.current_allocated_memory() / 1e6
    return psutil.Process().memory_info().rss / 1e6


def peak_memory_mb(device: torch.device) -> float:
    """Most memory held since :func:`reset_peak_memory`, in MB: of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if _PROC_STATUS.is_file():
        for line in _PROC_STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def reset_peak_memory(device: torch.device) -> None:
    """Let the peak be that of what follows, where the system can; one run per device at a time."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _PROC_STATUS.is_file():
        # Linux: 5 resets the process's high-water mark. A container may forbid it.
        with contextlib.suppress(OSError):
            (_PROC_STATUS.parent / "clear_refs").write_text("5")
