"""A tensor that computes on the CPU, says it is on ``cuda:0``, and refuses what CUDA refuses."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from device_ledger import LEDGER, PINNED

__all__ = ["OnGPU", "handle"]

# Operators for which CUDA makes the host wait.
_WAITS = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim",
    "unique_consecutive", "equal", "is_nonzero", "bincount", "_linalg_eigh", "_linalg_svd",
    "_linalg_check_errors",
}  # fmt: skip
_FROM_PYTHON = {torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy}


class OnGPU(torch.Tensor):
    """See the module; ``inner`` is the CPU tensor."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "OnGPU":
        is_strided = inner.layout == torch.strided
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride() if is_strided else None,
            storage_offset=inner.storage_offset() if is_strided else 0,
            dtype=inner.dtype,
            layout=inner.layout,
            device="cpu",
            requires_grad=False,
        )
        tensor.put(inner.detach())
        return tensor

    device = property(lambda self: torch.device("cuda", 0))
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def put(self, inner: torch.Tensor) -> None:
        """Hold another CPU tensor."""
        self.inner = inner
        self.held = LEDGER.hold(inner)

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"OnGPU({self.inner!r})"

    def __deepcopy__(self, memo: dict) -> torch.Tensor:
        if id(self) in memo:
            return memo[id(self)]
        with torch.no_grad():
            new = OnGPU(self.inner.clone())
        if getattr(self, "_is_param", False):
            new = torch.nn.Parameter(new, requires_grad=self.requires_grad)
        else:
            new.requires_grad_(self.requires_grad)
        for key, value in self.__dict__.items():
            if key not in ("inner", "_is_param", "held"):
                new.__dict__[key] = value
        memo[id(self)] = new
        return new

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: tuple = (), kwargs: Any = None):
        return handle(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: Any = None):
        return _dispatch(func, args, kwargs or {})


class _Move(torch.autograd.Function):
    """To the device or back, with a gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, to_gpu: bool, dtype: torch.dtype | None):
        ctx.to_gpu, ctx.dtype = to_gpu, x.dtype
        return _moved(x, to_gpu, dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor):
        return _Move.apply(grad, not ctx.to_gpu, ctx.dtype), None, None


def _moved(x: torch.Tensor, to_gpu: bool, dtype: torch.dtype | None) -> torch.Tensor:
    inner = x.detach() if to_gpu else x.inner
    inner = inner.to(dtype, copy=True) if dtype else inner.clone()
    return OnGPU(inner) if to_gpu else inner


def _move(x: torch.Tensor, to_gpu: bool, dtype: Any, non_blocking: bool) -> torch.Tensor:
    if to_gpu:
        LEDGER.copy_in(x, non_blocking=non_blocking)
    elif non_blocking:
        raise RuntimeError("the numbers are read before they have arrived: copy blocking, or wait")
    else:
        LEDGER.wait("copy to the CPU")
    with torch._C.DisableTorchFunctionSubclass():
        if x.requires_grad and torch.is_grad_enabled():
            return _Move.apply(x, to_gpu, dtype)
        with torch.no_grad():
            return _moved(x, to_gpu, dtype)


def _device_of(value: object) -> torch.device | None:
    if isinstance(value, torch.device):
        return value
    if isinstance(value, str) and not value.startswith("torch."):
        with contextlib.suppress(RuntimeError):
            return torch.device(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return torch.device("cuda", value)
    return None


def _to(x: torch.Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    kwargs, rest = dict(kwargs), list(args)
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    non_blocking, copy = kwargs.pop("non_blocking", False), kwargs.pop("copy", False)
    if rest and isinstance(rest[0], torch.Tensor):
        other = rest.pop(0)
        device, dtype = other.device, other.dtype
    elif rest and (rest[0] is None or _device_of(rest[0]) is not None):
        device = rest.pop(0)
    if rest and (rest[0] is None or isinstance(rest[0], torch.dtype)):
        dtype = rest.pop(0)
    non_blocking = rest.pop(0) if rest else non_blocking
    copy = rest.pop(0) if rest else copy
    device = _device_of(device) if device is not None else x.device
    here, there = isinstance(x, OnGPU), device.type == "cuda"
    if device.type not in ("cuda", "cpu"):  # meta
        with torch._C.DisableTorchFunctionSubclass():
            return (x.inner if here else x).to(device, dtype)
    if here != there:
        return _move(x, there, dtype, non_blocking)
    with torch._C.DisableTorchFunctionSubclass():
        return torch.Tensor.to(x, dtype=dtype or x.dtype, copy=copy, **kwargs)


def _pin(tensor: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, OnGPU):
        raise RuntimeError(
            "cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned"
        )
    with torch._C.DisableTorchFunctionSubclass():
        pinned = tensor.clone()
    setattr(pinned, PINNED, True)
    return pinned


def _refuse_generator(generator: torch.Generator | None, device: torch.device) -> None:
    if generator is not None and generator.device.type != device.type:
        raise RuntimeError(
            f"Expected a {device.type!r} device type for generator but found "
            f"{generator.device.type!r}"
        )


def handle(func: Callable, args: tuple, kwargs: Mapping[str, Any]) -> Any:
    """What a function of torch does where a device is pretended."""
    first = args[0] if args and isinstance(args[0], torch.Tensor) else None
    if func is torch.Tensor.to:
        return _to(first, args[1:], kwargs)
    if func is torch.Tensor.cuda:
        return _to(first, ("cuda",), {"non_blocking": kwargs.get("non_blocking", False)})
    if func is torch.Tensor.cpu:
        return _to(first, ("cpu",), {})
    if func is torch.Tensor.pin_memory:
        return _pin(first)
    if func is torch.Tensor.is_pinned:
        return getattr(first, PINNED, False)
    if isinstance(first, OnGPU):
        found = _of_the_device(func, first, args, kwargs)
        if found is not NotImplemented:
            return found
    device = kwargs.get("device")
    device = _device_of(device) if device is not None else None
    if device is not None and device.type == "cuda":
        return _made(func, first, args, dict(kwargs), device)
    if device is not None and isinstance(first, OnGPU):  # empty_like(x, device="meta")
        args = _mapped(_unwrap, args)
    with torch._C.DisableTorchFunctionSubclass():
        return func(*args, **kwargs)


def _of_the_device(func: Callable, x: OnGPU, args: tuple, kwargs: Mapping[str, Any]) -> Any:
    """Methods of a tensor that are not like others on a device."""
    if func in (torch.Tensor.numpy, torch.Tensor.__array__):
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor "
            "to host memory first."
        )
    if func is torch.Tensor.tolist:
        LEDGER.wait("tolist")
        return x.inner.tolist()
    if func in (torch.Tensor.untyped_storage, torch.Tensor.data_ptr):
        return func(x.inner)
    is_data = getattr(func, "__self__", None) is torch.Tensor.data
    if is_data and func.__name__ == "__get__":
        return x.detach()
    if is_data and isinstance(args[1], OnGPU):
        x.put(args[1].inner)
    return NotImplemented


def _made(func: Callable, first: Any, args: tuple, kwargs: dict[str, Any], device: torch.device):
    """A new tensor on the device."""
    _refuse_generator(kwargs.get("generator"), device)
    kwargs["device"] = "cpu"
    if func in _FROM_PYTHON and isinstance(first, OnGPU):
        return first if func is not torch.tensor else first.clone()
    wants_grad = kwargs.pop("requires_grad", False)
    with torch._C.DisableTorchFunctionSubclass():
        made = func(*_mapped(_unwrap, args), **kwargs)
    if func in _FROM_PYTHON:
        LEDGER.copy_in(made, non_blocking=False)
    return OnGPU(made).requires_grad_(wants_grad) if isinstance(made, torch.Tensor) else made


def _unwrap(x: torch.Tensor) -> torch.Tensor:
    return x.inner if isinstance(x, OnGPU) else x


def _mapped(change: Callable, value: Any, note: Callable = lambda tensor: None) -> Any:
    """Lists, tuples and dictionaries with every tensor changed; torch's own is slow."""
    if isinstance(value, torch.Tensor):
        note(value)
        return change(value)
    if type(value) in (list, tuple):
        return type(value)([_mapped(change, each, note) for each in value])
    if type(value) is dict:
        return {key: _mapped(change, each, note) for key, each in value.items()}
    return value


def _dispatch(func: Any, args: tuple, kwargs: Mapping[str, Any]) -> Any:
    """One operator on the inner tensors."""
    name = func.overloadpacket.__name__
    tensors: list[torch.Tensor] = []
    inner_args, inner_kwargs = (_mapped(_unwrap, x, tensors.append) for x in (args, kwargs))
    ours = [x for x in tensors if isinstance(x, OnGPU)]
    others = [x for x in tensors if not isinstance(x, OnGPU)]
    LEDGER.kernels[name] += 1
    _refuse_other_devices(func, name, args, others)
    if name == "copy_" and others:
        if isinstance(args[0], OnGPU):
            late = kwargs.get("non_blocking", len(args) > 2 and args[2])
            LEDGER.copy_in(args[1], non_blocking=late)
        else:
            LEDGER.wait("copy to the CPU")
    _refuse_generator(kwargs.get("generator"), torch.device("cuda"))
    has_mask = name in ("index", "index_put_", "index_put", "_unsafe_index") and any(
        i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
    )
    if name in _WAITS or has_mask:
        LEDGER.wait("a mask as index" if has_mask else name)
    known = {id(x.inner): x for x in ours}
    out = func(*inner_args, **inner_kwargs)
    if name == "copy_" and not isinstance(args[0], OnGPU):
        return args[0]
    return _mapped(lambda x: known[id(x)] if id(x) in known else OnGPU(x), out)


def _refuse_other_devices(func: Any, name: str, args: tuple, others: list[torch.Tensor]) -> None:
    for x in others:
        if x.device.type == "meta":
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found cuda:0 and meta ({func})"
            )
        if name in ("copy_", "_to_copy"):
            continue
        if name.startswith("index") and isinstance(args[0], OnGPU) and x is not args[0]:
            LEDGER.copy_in(x, non_blocking=False)  # CUDA takes indices on the CPU and moves them
        elif x.ndim > 0 or name.startswith("_foreach"):  # else a number
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda:0 and cpu! ({func}; shape {tuple(x.shape)} on the CPU)"
            )
