"""What two models or two layers give, side by side, and where they differ."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pclora_lab.nn.forward import Inputs
from pclora_lab.nn.layers.types import is_untouched

__all__ = [
    "largest_gap",
    "layers_compared",
    "module_of",
    "outputs_by_module",
    "own_hooks",
    "rounding_of",
    "run",
    "said",
]

# How far the logits of a start may be from the model's, as a share of the largest of them.
_ROUNDING = {torch.float64: 1e-4, torch.float32: 1e-3}
_ROUNDING_OF_HALF = 0.1


def run(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Every floating-point tensor that a model returns, in order."""
    output = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    return list(_tensors(output))


def _tensors(value: Any) -> Iterator[Tensor]:
    """The floating-point tensors in whatever a model returns."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif hasattr(value, "logits"):
        yield from _tensors(value.logits)


def largest_gap(value: Tensor, wanted: Tensor, finite: Tensor) -> tuple[float, float]:
    """max |Δ| and the largest value, where the model's is finite."""
    if wanted.numel() == 0:
        return 0.0, 0.0
    wanted = torch.where(finite, wanted.detach(), 0)
    value = torch.where(finite, value.detach(), 0)
    return (value - wanted).abs().max().item(), wanted.abs().max().item()


def outputs_by_module(model: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """What each module of a copy gives first, in the order in which they are done."""
    outputs: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, args: tuple, output: Any) -> None:
            for value in _tensors(output):
                outputs.setdefault(name, value.detach())

        return keep

    named = [(name, module) for name, module in model.named_modules() if name]
    handles = [module.register_forward_hook(keeper(name)) for name, module in named]
    with torch.no_grad():
        run(model, inputs)
    for handle in handles:  # those that are left are the model's own, see own_hooks
        handle.remove()
    return outputs


def own_hooks(module: nn.Module) -> str:
    """Half a sentence about a module's hooks; empty where there are none."""
    has_hooks = bool(module._forward_hooks or module._forward_pre_hooks)
    return ", whose hooks are no part of a student" if has_hooks else ""


def module_of(error: BaseException, model: nn.Module) -> str:
    """The innermost module in whose code an error was raised."""
    names = {id(module): name for name, module in model.named_modules()}
    found, trace = "", error.__traceback__
    while trace is not None:
        module = trace.tb_frame.f_locals.get("self")
        found = names.get(id(module), "") or found
        trace = trace.tb_next
    return found or type(model).__name__


def said(error: BaseException) -> str:
    """Kind and first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def layers_compared(model: nn.Module, bases: Mapping[str, nn.Linear]) -> Iterator[list[str]]:
    """Inside, notes which layers of a copy give something else than their ``W x + b``."""
    wrong: list[str] = []
    given: dict[str, Tensor] = {}

    def before(name: str) -> Callable[..., None]:
        return lambda module, args, kwargs: given.update({name: (*args, *kwargs.values())[0]})

    def after(name: str, hooks: str) -> Callable[..., None]:
        def compare(module: nn.Module, args: tuple, output: Tensor) -> None:
            x, base = given.pop(name), bases[name]
            wanted = F.linear(x, base.weight, base.bias)
            gap, largest = largest_gap(output, wanted, wanted.isfinite())
            if gap > rounding_of(wanted) * max(1.0, largest):
                wrong.append(
                    f"{name} ({type(module).__name__}) does not give W x + b: the example's "
                    f"outputs differ by up to {gap:.2g}{hooks}"
                )

        return compare

    handles = []
    for name, base in bases.items():
        module = model.get_submodule(name)
        if is_untouched(module) and module.weight is base.weight:
            continue
        hooks = own_hooks(module)  # before there are those that compare
        # The hooks of somebody else, which may change inputs and outputs, come between the two.
        handles += [
            module.register_forward_pre_hook(before(name), prepend=True, with_kwargs=True),
            module.register_forward_hook(after(name, hooks)),
        ]
    yield wrong
    for handle in handles:
        handle.remove()


def rounding_of(value: Tensor) -> float:
    """The share of the largest value that may be rounding, by precision."""
    return _ROUNDING.get(value.dtype, _ROUNDING_OF_HALF)
