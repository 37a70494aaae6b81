"""Models of which no student can be made, with the cause and the cure."""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import nn

__all__ = ["refuse_unsupported"]


def refuse_unsupported(model: nn.Module) -> None:
    """Look at every module before anything is counted or made.

    Raises:
        ValueError: names the module, the cause and the cure.

    Example:
        >>> refuse_unsupported(nn.Sequential(nn.LazyLinear(3)))
        Traceback (most recent call last):
            ...
        ValueError: 0 (LazyLinear) has no weights yet: run the model once on an example before
    """
    for name, module in model.named_modules():
        for applies, message in _CAUSES:
            if applies(module):
                kind = type(module).__name__
                raise ValueError(f"{f'{name} ({kind})' if name else kind} {message}")
    if len({p.is_meta for p in model.parameters()}) == 2:
        where = next(n for n, p in model.named_parameters() if p.is_meta)
        raise ValueError(
            f"{where} of {type(model).__name__} has no values (meta device) while others have: "
            "load all weights, without device_map or offloading"
        )


def _is_script(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def _is_lazy(module: nn.Module) -> bool:
    return any(isinstance(p, nn.UninitializedParameter) for p in module._parameters.values())


def _is_offloaded(module: nn.Module) -> bool:
    # accelerate's hooks; several at once stand in a list.
    hook: Any = getattr(module, "_hf_hook", None)
    return any(getattr(h, "offload", False) for h in (hook, *getattr(hook, "hooks", ())))


def _is_sharded(module: nn.Module) -> bool:
    values = (type(p).__name__ for p in module._parameters.values())
    return type(module).__name__ == "FullyShardedDataParallel" or "DTensor" in values


def _is_inference(module: nn.Module) -> bool:
    parameters = (p for p in module._parameters.values() if p is not None and not p.is_meta)
    return any(p.is_inference() for p in parameters)


def _is_sparse(module: nn.Module) -> bool:
    return any(p is not None and p.layout != torch.strided for p in module._parameters.values())


def _keeps_the_original(module: nn.Module) -> bool:
    """Whether its forward is a function around a method or module, which a copy does not copy."""
    forward = vars(module).get("forward")
    cells = getattr(forward, "__closure__", None) or ()
    if isinstance(forward, MethodType):
        return False
    held = (cell.cell_contents for cell in cells)
    return any(isinstance(getattr(value, "__self__", value), nn.Module) for value in held)


# Whether it applies to a module, and what follows the module's name.
_CAUSES: tuple[tuple[Callable[[nn.Module], bool], str], ...] = (
    (
        _is_script,
        "is TorchScript, whose layers can't be replaced: pass the Python model that it was made "
        "from",
    ),
    (_is_lazy, "has no weights yet: run the model once on an example before"),
    (_is_sparse, "has a sparse weight, which no matrix product here takes: call to_dense() on it"),
    (
        _keeps_the_original,
        "has a forward that was put around its own: a copy of it would still run the original's "
        "layers. Override forward in a subclass, or bind the function with types.MethodType",
    ),
    (
        _is_offloaded,
        "is offloaded, so its weights are elsewhere while it does not run: load the model without "
        "device_map, or call accelerate.hooks.remove_hook_from_submodules(model) where it fits",
    ),
    (
        _is_sharded,
        "is sharded over several processes: make the student first and shard that",
    ),
    (
        _is_inference,
        "was made under torch.inference_mode, so nothing can be trained with its weights: load "
        "the model outside of it",
    ),
)
