"""A CUDA device that computes on the CPU: tensors say where they are, and no two devices mix.

``with PretendCuda():`` makes ``torch.cuda.is_available()`` true and lets ``.to("cuda")`` and
``device="cuda"`` return :class:`device_tensor.OnGPU` tensors. All numbers are real and must equal a
run on the CPU bit for bit; but

* an operation that mixes a device's tensor and a CPU tensor with dimensions raises what CUDA
  raises; so do a CPU generator used on the device, and ``.numpy()``;
* every wait of the host for the device is noted with the line that asked for it: ``.item()``,
  ``bool()``, masks as indices, copies to the CPU, copies from memory that is not pinned;
* ``torch.cuda.memory_allocated()`` counts the bytes of the storages that are alive.

What it can't see: kernels that lack a dtype on CUDA, TF32, kernels that are not deterministic, real
time. It pretends one device.
"""

import collections
import contextlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
import torch.utils._foreach_utils
from device_ledger import LEDGER
from device_tensor import handle
from torch.nn.utils import clip_grad
from torch.overrides import TorchFunctionMode

__all__ = ["PretendCuda"]

_HEALTH_CHECKS = ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check")


class _Mode(TorchFunctionMode):
    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: Any = None):
        return handle(func, args, kwargs or {})


class PretendCuda:
    """See the module.

    Args:
        bf16: whether the device computes in bfloat16.

    Attributes:
        calls: of functions in ``torch.cuda`` that do nothing here, by name.
        random_state: of the device's generator, which is seeded and draws nothing.
    """

    def __init__(self, *, bf16: bool = True) -> None:
        self.bf16 = bf16
        self.calls: collections.Counter = collections.Counter()
        self.random_state = torch.zeros(16, dtype=torch.uint8)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "PretendCuda":
        for name, value in self._of_cuda().items():
            self._patch(torch.cuda, name, value)
        self._patch(torch.accelerator, "is_available", lambda: False)
        for name in _HEALTH_CHECKS:
            if hasattr(torch.optim.Optimizer, name):
                self._patch(torch.optim.Optimizer, name, lambda optimizer: None)
        self._patch_autocast()
        self._patch_grouping()
        self._patch(torch, "inference_mode", _inference_mode)  # wrappers can't be in it
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        self._stack.callback(torch.__future__.set_swap_module_params_on_conversion, before)
        self._stack.enter_context(_Mode())
        LEDGER.reset()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _patch(self, where: Any, name: str, value: Any) -> None:
        self._stack.enter_context(mock.patch.object(where, name, value))

    def _counted(self, name: str, result: Any = None) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            return result

        return called

    def _of_cuda(self) -> dict[str, Any]:
        def reset_peak(*args: Any) -> None:
            LEDGER.peak = LEDGER.held

        def seed(number: int) -> None:
            self.random_state = torch.full((16,), number % 251, dtype=torch.uint8)

        def put_state(state: torch.Tensor, *args: Any) -> None:
            self.random_state = state.clone()

        nothing = ("set_device", "empty_cache", "init", "_lazy_init", "synchronize")
        return {
            **{name: self._counted(name) for name in nothing},
            "manual_seed": seed,
            "manual_seed_all": seed,
            "get_rng_state": lambda *args: self.random_state.clone(),
            "set_rng_state": put_state,
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "get_device_name": lambda *args: "pretended GPU",
            "get_device_capability": lambda *args: (8, 0),
            "is_bf16_supported": lambda *args, **kwargs: self.bf16,
            "memory_allocated": lambda *args: LEDGER.held,
            "memory_reserved": lambda *args: LEDGER.held,
            "max_memory_allocated": lambda *args: LEDGER.peak,
            "reset_peak_memory_stats": reset_peak,
        }

    def _patch_autocast(self) -> None:
        enabled, dtype = torch.is_autocast_enabled, torch.get_autocast_dtype
        own = torch.autocast

        class Autocast(own):
            def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
                own.__init__(self, _inside(device_type), *args, **kwargs)

        self._patch(torch, "autocast", Autocast)
        self._patch(
            torch, "is_autocast_enabled", lambda d=None: enabled(_inside(d)) if d else enabled()
        )
        self._patch(torch, "get_autocast_dtype", lambda d: dtype(_inside(d)))

    def _patch_grouping(self) -> None:
        """torch's C++ groups by the device that it sees."""
        foreach = torch.utils._foreach_utils
        group = foreach._group_tensors_by_device_and_dtype

        def place(lists: Any) -> torch.device:
            found = (t.device for tensors in lists for t in tensors if t is not None)
            return next(found, torch.device("cpu"))

        def grouped(lists: Any, *args: Any, **kwargs: Any) -> dict:
            groups = group(lists, *args, **kwargs).items()
            return {(place(value[0]), key[1]): value for key, value in groups}

        for module in (clip_grad, foreach):
            self._patch(module, "_group_tensors_by_device_and_dtype", grouped)


def _inside(device_type: str) -> str:
    return "cpu" if device_type == "cuda" else device_type


def _inference_mode(mode: bool = True) -> Any:
    return torch.no_grad() if mode else contextlib.nullcontext()
