"""Where a run computes: on the device it names, and what it holds there."""

import contextlib
from types import SimpleNamespace

import psutil
import pytest
import torch
from pretend_cuda import PretendCuda
from torch import nn

from pclora_lab import RunConfig
from pclora_lab.training import device as module
from pclora_lab.training.device import (
    available_devices,
    device_errors_explained,
    make_accelerator,
    memory_mb,
    peak_memory_mb,
    reset_peak_memory,
    resolve_device,
)


def test_memory_is_told_in_megabytes(monkeypatch):
    device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda where: 3_000_000_000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda where: 5_000_000_000)
    assert memory_mb(device) == 3000 and peak_memory_mb(device) == 5000
    here = memory_mb(torch.device("cpu"))
    assert here == pytest.approx(psutil.Process().memory_info().rss / 1e6, rel=0.05)
    assert peak_memory_mb(torch.device("cpu")) >= 0.95 * here
    rss = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=3_000_000_000))
    monkeypatch.setattr(psutil, "Process", lambda: rss)
    assert memory_mb(torch.device("cpu")) == 3000


def test_a_run_on_the_cpu_asks_for_nothing_else(vit):
    accelerator = make_accelerator(RunConfig(device="cpu"), vit)
    assert accelerator.device.type == "cpu" and accelerator.state._cpu is True


CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def status(tmp_path, monkeypatch):
    """What a system tells of the process; nothing until something is written."""
    path = tmp_path / "status"
    monkeypatch.setattr(module, "_PROC_STATUS", path)
    return path


def test_the_peak_of_a_process_is_the_systems_high_water_mark(status):
    status.write_text("Name:\tpython\nVmPeak:\t 9000 kB\nVmHWM:\t 2000 kB\nVmRSS:\t 1000 kB\n")
    assert peak_memory_mb(CPU) == 2.048


@pytest.mark.parametrize("told", [None, "Name:\tpython\n"])
@pytest.mark.parametrize(("system", "megabytes"), [("linux", 3.072), ("darwin", 0.003)])
def test_where_it_tells_none_the_peak_is_the_largest_the_process_ever_had(
    status, monkeypatch, told, system, megabytes
):
    """Linux counts it in KiB, macOS in bytes."""
    if told is not None:
        status.write_text(told)
    usage = SimpleNamespace(ru_maxrss=3000)
    monkeypatch.setattr(module.resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(module.sys, "platform", system)
    assert peak_memory_mb(CPU) == megabytes


def test_without_a_high_water_mark_the_peak_is_plausible(status):
    here = memory_mb(CPU)
    assert 0.95 * here < peak_memory_mb(CPU) < 100 * here
    reset_peak_memory(CPU)  # nothing to reset, and no reason to fail
    assert not list(status.parent.iterdir())


def test_a_peak_begins_anew_where_the_system_can(status):
    status.write_text("VmHWM:\t 2000 kB\n")
    reset_peak_memory(CPU)
    assert (status.parent / "clear_refs").read_text() == "5"
    (status.parent / "clear_refs").unlink()
    (status.parent / "clear_refs").mkdir()  # as where a container forbids it
    reset_peak_memory(CPU)


def test_on_a_gpu_a_peak_is_of_what_came_after_it_began_anew():
    with PretendCuda():
        torch.zeros(1_000_000, device="cuda")
        assert peak_memory_mb(GPU) >= 4
        reset_peak_memory(GPU)
        assert peak_memory_mb(GPU) == memory_mb(GPU) < 1


def test_the_memory_of_a_mac_is_what_torch_holds(monkeypatch):
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 7_000_000)
    assert memory_mb(torch.device("mps")) == 7


@pytest.fixture
def machine(monkeypatch):
    """One with so many GPUs, and Apple's if it is asked for."""

    def has(cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


@pytest.mark.parametrize(
    ("cuda", "mps", "there"),
    [(0, False, ["cpu"]), (0, True, ["mps", "cpu"]), (2, False, ["cuda:0", "cuda:1", "cpu"]),
     (1, True, ["cuda:0", "mps", "cpu"])],
)  # fmt: skip
def test_auto_is_the_fastest_device_and_each_has_its_name(machine, cuda, mps, there):
    machine(cuda, mps)
    assert available_devices() == there
    assert resolve_device("auto") == torch.device(there[0])
    assert [str(resolve_device(name)) for name in there] == there
    if cuda:
        assert resolve_device("cuda") == GPU


def test_each_of_several_processes_has_a_gpu_of_its_own(machine, monkeypatch):
    machine(cuda=2)
    for place, own in {"0": 0, "1": 1, "2": 0, "": 0, "first": 0}.items():
        monkeypatch.setenv("LOCAL_RANK", place)
        assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda", own)
        assert resolve_device("cuda:1") == torch.device("cuda", 1)
    machine(cuda=0, mps=True)
    assert resolve_device("auto") == torch.device("mps")
    machine(cuda=0)
    assert resolve_device("auto") == CPU
    with pytest.raises(ValueError, match="'cuda' is not available"):
        resolve_device("cuda")


def test_no_launchers_variable_divides_the_loss(monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    layer = nn.Linear(1, 1)
    made = make_accelerator(RunConfig(device="cpu", precision="float32"), layer)
    made.backward(layer(torch.ones(1, 1)).sum())
    assert layer.weight.grad.item() == 1


@pytest.mark.parametrize(
    ("name", "build", "words"),
    [
        ("cuda:3", "13.0", "'cuda:3' is not available: torch finds no such device here"),
        ("cuda:3", None, "'cuda:3' is not available: this build of torch has no CUDA support"),
        ("mps", None, "'mps' is not available: torch finds no such device here"),
        ("tpu", "13.0", "unknown device 'tpu': use auto or one of cuda:0, cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_the_reason(
    machine, monkeypatch, name, build, words
):
    machine(cuda=1)
    monkeypatch.setattr(torch.version, "cuda", build)
    with pytest.raises(ValueError, match=words):
        resolve_device(name)


def test_an_accelerator_is_on_its_device_with_a_fresh_peak():
    with PretendCuda() as gpu:
        made = make_accelerator(RunConfig(device="cuda", precision="float32"), nn.Linear(2, 2))
        assert made.device == GPU and gpu.calls["set_device"] == 1
        other = make_accelerator(RunConfig(device="cpu", precision="float32"), nn.Linear(2, 2))
    assert other.device == CPU and made.device == GPU and gpu.calls["set_device"] == 1


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_inside_a_run_computes_in_its_precision_and_outside_as_before(monkeypatch, kind, precision):
    """Plain attention is for half precision on a CPU alone."""
    plain = []

    @contextlib.contextmanager
    def attention():
        plain.append(1)
        yield

    monkeypatch.setattr(module, "plain_attention", attention)
    monkeypatch.setattr(module, "require_precision", lambda *given: None)
    layer = nn.Linear(2, 2)
    with PretendCuda() if kind == "cuda" else contextlib.nullcontext():
        made = make_accelerator(RunConfig(device=kind, precision=precision), layer)
        with made.autocast():
            assert torch.is_autocast_enabled(kind) == (precision != "float32")
            found = layer.to(made.device)(torch.ones(1, 2, device=made.device))
        assert not torch.is_autocast_enabled(kind)
    assert found.dtype == getattr(torch, precision)
    assert bool(plain) == (kind == "cpu" and precision != "float32")


def test_an_error_of_the_device_is_told_by_its_first_line_and_with_what_to_try():
    config = RunConfig(device="cpu", batch_size=12)
    with (
        pytest.raises(RuntimeError, match=r"\(too much\): use recompute=True, a smaller batch"),
        device_errors_explained(config),
    ):
        raise torch.OutOfMemoryError("too much.\nMore about it")
    with (
        pytest.raises(RuntimeError, match=r"\(AcceleratorError\), and this process can't use it"),
        device_errors_explained(config),
    ):
        raise torch.AcceleratorError("")
