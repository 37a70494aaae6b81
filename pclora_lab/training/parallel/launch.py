"""The processes that a launcher has started, joined to one run; everything else is refused."""

import atexit
import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch import distributed

from pclora_lab.fields import FieldError
from pclora_lab.machine import this_host
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import resolve_device
from pclora_lab.training.parallel.ranks import ALONE, PATIENCE, Ranks
from pclora_lab.training.parallel.same import require_same

__all__ = ["join", "launched", "refuse_several_processes"]

# Set by torchrun and accelerate, and by mpirun of three kinds. SLURM_NTASKS is no sign: it says
# what was asked for, also to a notebook that runs once in such an allocation.
_PROCESS_COUNTS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
# By which torch's processes find each other; torchrun and accelerate set all of them.
_MEETING = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Engines of accelerate in which no process holds the whole model.
_SHARDING = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}

# By kind of device, and by the process group that it was made in.
_joined: dict[tuple[str, int], Ranks] = {}


def launched() -> tuple[int, str]:
    """How many processes a launcher has started, and what says so; 1 without one."""
    count, sign = 1, ""
    for name in _PROCESS_COUNTS:
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value) > count:
            count, sign = int(value), f"{name} is {value}"
    if _has_group() and distributed.get_world_size() > count:
        count = distributed.get_world_size()
        sign = f"torch.distributed has a group of {count}"
    return count, sign


def _has_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def refuse_several_processes(what: str = "this") -> None:
    """Refuse what is for one process where a launcher has started several.

    Args:
        what: would be done by each of them.

    Raises:
        RuntimeError: names the sign and the cure.
    """
    count, sign = launched()
    if count > 1:
        raise RuntimeError(
            f"{sign}: a launcher such as torchrun has started {count} processes, and each would do "
            f"all of {what} again. Start it without the launcher; one run is trained by several "
            f"processes with {_command(count)}. (If there is one process only, unset the variable.)"
        )


def _command(count: int) -> str:
    return f"`torchrun --nproc-per-node {count} -m pclora_lab train …`"


def join(config: RunConfig, taken_up_at: int | None = None) -> Ranks:
    """The place of this process among those that train the run; alone without a launcher.

    A process group that is there is used; else the launcher's variables say where to meet. On one
    machine the processes listen on the loopback interface only.

    Args:
        config: of the run; all processes must have the same.
        taken_up_at: step of the checkpoint that the run goes on from.

    Raises:
        RuntimeError: several processes that can't find each other, or whose runs differ.
        ValueError: more processes than devices or than examples in a batch.
    """
    count, sign = launched()
    if count == 1:
        return ALONE
    _refuse_sharding()
    if not _has_group():
        _meet(count, sign)
    device = resolve_device(config.device)
    key = device.type, id(distributed.group.WORLD)
    ranks = _joined[key] = _joined.get(key) or _groups(device)
    facts = {**config.to_dict(), "device type": device.type, "checkpoint of step": taken_up_at}
    require_same(ranks, facts, "settings")
    _require_own_devices(ranks, device)
    if config.batch_size < ranks.count:
        raise FieldError(
            "batch_size",
            f"batch_size is {config.batch_size}, which can't be divided among {ranks.count} "
            f"processes: take at least {ranks.count}, or fewer processes",
        )
    return ranks


def _refuse_sharding() -> None:
    for name, engine in _SHARDING.items():
        if os.environ.get(name, "").lower() == "true":
            raise RuntimeError(
                f"{name} is set: accelerate is configured for {engine}, which divides a model "
                "among processes, and in a run each process holds all of it. Start it with "
                "`accelerate launch --multi_gpu …` or torchrun"
            )


def _meet(count: int, sign: str) -> None:
    if missing := [name for name in _MEETING if name not in os.environ]:
        raise RuntimeError(
            f"{sign}, but {', '.join(missing)} is not set, so that {count} processes could not "
            f"find each other, and each would train the whole run again. Start it with "
            f"{_command(count)} or `accelerate launch --multi_gpu --num_processes {count} -m "
            "pclora_lab train …`. (If there is one process only, unset the variable; in a training "
            "loop of your own torch.distributed is yours.)"
        )
    with _on_loopback():
        distributed.init_process_group("gloo")
    atexit.register(_leave)


def _leave() -> None:
    with contextlib.suppress(RuntimeError, AssertionError):
        if _has_group():
            distributed.destroy_process_group()


def _groups(device: torch.device) -> Ranks:
    with _on_loopback():
        control = distributed.new_group(backend="gloo", timeout=PATIENCE)
    data: Any = control
    if device.type == "cuda":
        torch.cuda.set_device(device)
        data = distributed.new_group(backend="nccl")
    return Ranks(distributed.get_rank(), distributed.get_world_size(), control, data)


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Inside, gloo listens on the loopback interface where all processes are on this machine.

    Its connections carry no password. Whoever has named an interface keeps it.
    """
    is_one_machine = os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE")
    loopback = _loopback() if is_one_machine and "GLOO_SOCKET_IFNAME" not in os.environ else None
    if loopback is None:
        yield
        return
    os.environ["GLOO_SOCKET_IFNAME"] = loopback
    try:
        yield
    finally:
        del os.environ["GLOO_SOCKET_IFNAME"]


def _loopback() -> str | None:
    """Its name on this machine."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == "127.0.0.1" for address in addresses):
            return name
    return None


def _require_own_devices(ranks: Ranks, device: torch.device) -> None:
    """Refuse two processes on one GPU: each would need the memory of both.

    Raises:
        ValueError: names both and the cure.
    """
    found = ranks.gathered(_place(device))
    for number, place in enumerate(found):
        if place and (first := found.index(place)) < number:
            there = len(set(found))
            raise ValueError(
                f"{ranks.count} processes are more than there are devices: processes {first} and "
                f"{number} both have {device}. Start {there} (torchrun --nproc-per-node {there}), "
                'and leave device at "auto"'
            )


def _place(device: torch.device) -> str:
    """What only one process may have; empty for a CPU, which they share."""
    if device.type == "cpu":
        return ""
    unique = ""
    if device.type == "cuda":
        unique = str(getattr(torch.cuda.get_device_properties(device), "uuid", device))
    return f"{this_host()} {device.type} {unique}"
