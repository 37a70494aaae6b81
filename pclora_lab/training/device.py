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
from torch import nn

from pclora_lab.machine import processor
from pclora_lab.nn.runtime.plain_attention import plain_attention
from pclora_lab.training.config import RunConfig
from pclora_lab.training.precision import AUTOCAST_DTYPES, pinned, require_precision

__all__ = [
    "available_devices",
    "device_errors_explained",
    "hardware_name",
    "make_accelerator",
    "memory_mb",
    "refuse_several_processes",
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
        super().__init__(cpu=device.type == "cpu", mixed_precision="no")
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
    """``auto`` takes the fastest there is.

    Raises:
        ValueError: an unknown device, or one that this machine or this build of torch lacks.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    there = available_devices()
    if name == "auto":
        return torch.device(there[0])
    full = "cuda:0" if name == "cuda" else name
    if full in there:
        return torch.device(full)
    if not str(name).startswith(("cuda", "mps")):
        raise ValueError(f"unknown device {name!r}: use auto or one of {', '.join(there)}")
    reason = "torch finds no such device here"
    if full.startswith("cuda") and torch.version.cuda is None:
        reason = "this build of torch has no CUDA support"
    raise ValueError(f"device {name!r} is not available: {reason}. Use auto or {', '.join(there)}")


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
            f"({_first_line(error)}): use recompute=True, a smaller batch_size than "
            f'{config.batch_size}, or precision="bfloat16"'
        ) from error
    except torch.AcceleratorError as error:
        raise RuntimeError(
            f"device={config.device!r} failed ({_first_line(error)}), and this process can't use "
            "it any more: look at it with nvidia-smi, then go on from the last checkpoint in a new "
            "process, with pclora-lab resume and the run's folder"
        ) from error


def _first_line(error: BaseException) -> str:
    """torch adds lines about debugging it."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(". ")


# Set by torchrun and accelerate, and by mpirun of three kinds. SLURM_NTASKS is no sign: it says
# what was asked for, also to a notebook that runs once in such an allocation.
_PROCESS_COUNTS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def refuse_several_processes() -> None:
    """Refuse to train where a launcher has started several processes.

    Each of them would train the same run from its start to its end, in a folder of its own. A
    training loop of your own may have as many as it likes.

    Raises:
        RuntimeError: names the sign and the cure.
    """
    count, sign = 1, ""
    for name in _PROCESS_COUNTS:
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value) > count:
            count, sign = int(value), f"{name} is {value}"
    group = torch.distributed
    if group.is_available() and group.is_initialized() and group.get_world_size() > count:
        count = group.get_world_size()
        sign = f"torch.distributed has a group of {count}"
    if count > 1:
        raise RuntimeError(
            f"{sign}: a launcher such as torchrun has started {count} processes, and each would "
            "train the whole run again, into a folder of its own. Start it without the launcher: a "
            "run uses one process and one device. (If there is one process only, unset the "
            "variable; in a training loop of your own, get_pclora_model and DistillationLoss work "
            "with several.)"
        )


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
