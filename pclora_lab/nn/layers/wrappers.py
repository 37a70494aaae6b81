"""A model inside another: compiled, data-parallel, averaged, or with adapters of PEFT."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from pclora_lab.nn.layers.copying import copied, deepcopy_sharing, results_in

__all__ = ["inner_modules", "innermost", "unwrapped"]

# By class, the name of the child that is the model itself. By name, because most of these classes
# belong to packages that take long to import.
_WRAPPERS = {
    "OptimizedModule": "_orig_mod",  # torch.compile
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",  # torch.optim.swa_utils
    "ModelEma": "module",  # timm
    "ModelEmaV2": "module",
    "ModelEmaV3": "module",
}
# Their parameters are in pieces: a student that trains inside is found, a model isn't taken out.
_SHARDED = {"FullyShardedDataParallel": "module", "DeepSpeedEngine": "module"}


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, whose names hold no ``_orig_mod.`` and no ``module.``.

    Adapters of PEFT are merged, into copies of the weights that they adapt. Everything else is the
    given model's own, and where nothing is wrapped it is the given model.

    Args:
        model: any model; it is only read.

    Raises:
        ValueError: adapters that can't be merged.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 2))
        >>> unwrapped(torch.optim.swa_utils.AveragedModel(torch.compile(net)))
        Sequential(
          (0): Linear(in_features=2, out_features=2, bias=True)
        )
        >>> unwrapped(net) is net
        True
    """
    model = _innermost(model)
    wrapped = [m for m in model.modules() if _inner(m) is not None]
    if wrapped or any(map(_has_compiled_forward, model.modules())):
        model = _without(model, wrapped)
    return _merged(model) if any(map(_is_adapted, model.modules())) else model


def innermost(model: nn.Module) -> nn.Module:
    """The model that a training's wrappers hold, itself and no copy: what λ is set in.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2))
        >>> innermost(nn.DataParallel(net)) is net, innermost(net) is net
        (True, True)
    """
    while (inner := _inner(model, {**_WRAPPERS, **_SHARDED})) is not None:
        model = inner
    return model


def inner_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Every module of a model, the one that runs, by its name without wrappers.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2))
        >>> list(inner_modules(nn.DataParallel(net)))
        ['', '0']
    """
    found: dict[str, nn.Module] = {}

    def add(name: str, module: nn.Module, above: tuple[nn.Module, ...] = ()) -> None:
        module = _innermost(module)
        if any(module is other for other in above):
            return
        if _is_adapted(module) and hasattr(module, "base_model"):
            module = _innermost(module.get_submodule("base_model.model"))
        found.setdefault(name, module)
        for child, part in module.named_children():
            add(f"{name}.{child}" if name else child, part, (*above, module))

    add("", model)
    return found


def _inner(module: nn.Module, wrappers: Mapping[str, str] = _WRAPPERS) -> nn.Module | None:
    names = (wrappers.get(kind.__name__) for kind in type(module).__mro__)
    inner = next((getattr(module, name, None) for name in names if name is not None), None)
    return inner if isinstance(inner, nn.Module) else None


def _innermost(module: nn.Module) -> nn.Module:
    while (inner := _inner(module)) is not None:
        module = inner
    return module


def _without(model: nn.Module, wrapped: list[nn.Module]) -> nn.Module:
    """A copy on the same tensors in which what is wrapped stands in its wrapper's place."""
    tensors = (*model.parameters(), *model.buffers(), *results_in(model))
    memo: dict[int, object] = {id(tensor): tensor for tensor in tensors}
    for wrapper in reversed(wrapped):  # inner ones first
        memo[id(wrapper)] = copy.deepcopy(_innermost(wrapper), memo)
    twin = copied(model, memo)
    for module in twin.modules():
        if _has_compiled_forward(module):
            del module.forward  # which leaves the class's own
    return twin


def _has_compiled_forward(module: nn.Module) -> bool:
    """Whether ``model.forward = torch.compile(model.forward)`` was said."""
    original = getattr(vars(module).get("forward"), "_torchdynamo_orig_callable", None)
    return original is not None and getattr(original, "__func__", None) is type(module).forward


def _is_adapted(module: nn.Module) -> bool:
    kinds = {kind.__name__ for kind in type(module).__mro__}
    return bool(kinds & {"PeftModel", "BaseTunerLayer", "ModulesToSaveWrapper"})


def _merged(model: nn.Module) -> nn.Module:
    """PEFT's layers merged and replaced by what they adapt."""
    adapted = [m for m in model.modules() if _is_adapter(m)]
    own = {id(p) for m in adapted for p in m.parameters()}
    twin = deepcopy_sharing(model, [p for p in model.parameters() if id(p) not in own])
    if hasattr(twin, "base_model") and _is_adapted(twin):
        twin = _bare(twin)
    for name, module in list(twin.named_modules()):
        if not _is_adapted(module):
            continue
        parent, _, child = name.rpartition(".")
        plain = _merged_layer(name, module)
        twin.get_submodule(parent).register_module(child, plain)
    for attribute in ("peft_config", "_hf_peft_config_loaded"):
        vars(twin).pop(attribute, None)
    return twin


def _is_adapter(module: nn.Module) -> bool:
    return any(kind.__name__ == "BaseTunerLayer" for kind in type(module).__mro__)


def _bare(peft_model: nn.Module) -> nn.Module:
    config = getattr(peft_model, "active_peft_config", None)
    if getattr(config, "is_prompt_learning", False):
        raise ValueError(
            f"{type(peft_model).__name__} has a learned prompt, which can't be merged into the "
            "weights: pass the model that it was made from"
        )
    return peft_model.get_submodule("base_model.model")


def _merged_layer(name: str, module: Any) -> nn.Module:
    if not _is_adapter(module):  # a copy of a layer that was trained beside it
        return module.modules_to_save[module.active_adapters[0]]
    try:
        if not module.merged:
            module.merge(safe_merge=True)
        return module.get_base_layer()
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"the adapter of {name} ({type(module).__name__}) can't be merged: {error}. Merge it "
            "with merge_and_unload(), or pass the model without adapters"
        ) from error
