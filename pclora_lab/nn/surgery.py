"""Find the linear layers to replace, prove that each one is really used, replace them."""

import copy
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn

from pclora_lab.nn.forward import call_model, eval_mode, forward_hooks

if TYPE_CHECKING:
    from transformers.pytorch_utils import Conv1D

__all__ = [
    "as_linear",
    "block_names",
    "deepcopy_sharing",
    "find_embeddings",
    "find_targets",
    "frozen_view",
    "get_linear",
    "is_linear",
    "meta_copy",
    "replace_modules",
    "count_inputs",
]


def _is_conv1d(module: nn.Module) -> "TypeGuard[Conv1D]":
    # transformers' Conv1D (GPT-2) is a linear layer whose weight is (in, out). By name, because
    # importing transformers takes longer than importing torch.
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def is_linear(module: nn.Module) -> bool:
    """Whether it is a linear layer, torch's or GPT-2's ``Conv1D``."""
    return isinstance(module, nn.Linear) or _is_conv1d(module)


def as_linear(module: nn.Module) -> nn.Linear | nn.Embedding:
    """A layer as torch writes it; GPT-2's ``Conv1D`` as a view of the same storage.

    Args:
        module: an ``nn.Linear`` or ``nn.Embedding``, returned as it is, or a ``Conv1D`` with a
            weight ``(in, out)``.

    Raises:
        TypeError: another kind of layer.
    """
    if isinstance(module, nn.Linear | nn.Embedding):
        return module
    if not _is_conv1d(module):
        raise TypeError(f"{type(module).__name__} is neither a linear layer nor an embedding")
    weight = module.weight
    shell = nn.Linear(weight.shape[0], weight.shape[1], device="meta")
    shell.weight = nn.Parameter(weight.detach().T, requires_grad=weight.requires_grad)
    shell.bias = module.bias
    return shell


def get_linear(model: nn.Module, name: str) -> nn.Linear:
    """The linear layer of a full name; see :func:`as_linear`.

    Raises:
        TypeError: the name is another kind of layer's.
    """
    layer = as_linear(model.get_submodule(name))
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{name} is {type(layer).__name__}, not a linear layer")
    return layer


def find_embeddings(model: nn.Module) -> dict[str, nn.Embedding]:
    """The word embedding of a language model, by full name.

    Raises:
        ValueError: there is none, or it is tied to the output layer.
    """
    get = getattr(model, "get_input_embeddings", None)
    table = get() if get is not None else None
    found = {n: m for n, m in model.named_modules() if m is table and isinstance(m, nn.Embedding)}
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no word embedding: leave embeddings at 'dense'"
        )
    _refuse_shared(model, found)
    return found


def find_targets(model: nn.Module, targets: str = "blocks") -> dict[str, nn.Linear]:
    """The linear layers that a method replaces, by full name; see :func:`as_linear`.

    Args:
        model: any module; it is only read.
        targets: ``blocks`` for every linear layer inside the transformer blocks (head and
            embeddings stay), or a regular expression searched in the full names.

    Raises:
        ValueError: nothing found (the linear layers there are get listed), a bad expression, or
            a layer that is shared or tied.

    Example:
        >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> list(find_targets(mlp, targets="0"))
        ['0']
    """
    linears = {
        name: m for name, m in model.named_modules() if type(m) is nn.Linear or _is_conv1d(m)
    }
    if targets == "blocks":
        found = {name: m for name, m in linears.items() if _block_of(name, linears)}
    else:
        pattern = _compile(targets)
        found = {name: m for name, m in linears.items() if pattern.search(name)}
    if not found:
        raise ValueError(_nothing_found(model, targets, linears))
    _refuse_shared(model, found)
    return {name: get_linear(model, name) for name in found}


def _compile(targets: str) -> re.Pattern[str]:
    try:
        return re.compile(targets)
    except re.error as error:
        raise ValueError(f"targets {targets!r} is no regular expression: {error}") from error


def _nothing_found(model: nn.Module, targets: str, linears: Iterable[str]) -> str:
    names = list(linears)
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    there_are = f"its linear layers are: {shown}" if names else "it has no nn.Linear at all"
    return (
        f"targets={targets!r} finds no linear layer in {type(model).__name__}; {there_are}. "
        "Pass targets as a regular expression that matches some of them."
    )


def _block_of(name: str, linears: Iterable[str]) -> str | None:
    """The transformer block a layer is in: the deepest numbered parent with two linears or more."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        prefix = ".".join(parts[:end])
        if parts[end - 1].isdigit() and sum(n.startswith(prefix + ".") for n in linears) >= 2:
            return prefix
    return None


def block_names(names: Iterable[str]) -> list[str]:
    """The blocks that hold the given layers, each once, in order.

    Example:
        >>> block_names(["blocks.0.attn.qkv", "blocks.0.mlp.fc1", "blocks.1.mlp.fc1",
        ...              "blocks.1.mlp.fc2"])
        ['blocks.0', 'blocks.1']
    """
    names = list(names)
    blocks = (_block_of(name, names) or name for name in names)
    return list(dict.fromkeys(blocks))


def _refuse_shared(model: nn.Module, targets: Mapping[str, nn.Module]) -> None:
    """Refuse layers that stand in two places, or whose parameters another module uses too."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        for key, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(f"{name}.{key}" if name else key)
    for name, module in targets.items():
        for parameter in module.parameters(recurse=False):
            places = owners[id(parameter)]
            if len(places) > 1:
                raise ValueError(
                    f"{name} is tied or shared: {' and '.join(places)} are one parameter, and "
                    "replacing one place would silently split them. Leave it out with a targets "
                    "expression that does not match it."
                )


def count_inputs(
    model: nn.Module,
    targets: Mapping[str, nn.Module],
    example: Tensor | Mapping[str, Tensor],
) -> dict[str, int]:
    """Run one forward and count the vectors that enter every target; each must see some.

    Some models read ``layer.weight`` directly (``nn.MultiheadAttention``; timm's beit, eva,
    swin_v2); a replaced layer would be bypassed there without a word.

    Raises:
        ValueError: names the layers that were not called.
    """
    _refuse_fast_path(model, targets)
    tokens = dict.fromkeys(targets, 0)

    def count(name: str, x: Tensor, _: object) -> None:
        is_number = not x.is_floating_point()  # of a word in a table, not a vector of features
        tokens[name] += x.numel() if is_number else x.numel() // x.shape[-1]

    with eval_mode(model), forward_hooks(targets, count):
        call_model(model, example)
    silent = [name for name, seen in tokens.items() if seen == 0]
    if silent:
        raise ValueError(
            f"{type(model).__name__} never calls {', '.join(silent)} in a forward pass: it reads "
            "the weight directly or skips the layer, so replacing it would change nothing. Leave "
            "it out with a targets expression that does not match it."
        )
    return tokens


def _refuse_fast_path(model: nn.Module, targets: Iterable[str]) -> None:
    """torch's own encoder reads ``linear1.weight`` in eval mode, but not while hooks are on it."""
    parents = [n for n, m in model.named_modules() if isinstance(m, nn.TransformerEncoderLayer)]
    inside = [t for t in targets if any(t.startswith(f"{p}." if p else "") for p in parents)]
    if inside:
        raise ValueError(
            f"{', '.join(inside)} are inside nn.TransformerEncoderLayer, whose fast path reads the "
            "weights directly. Leave them out with a targets expression that does not match them."
        )


def deepcopy_sharing(model: nn.Module, shared: Iterable[nn.Parameter]) -> nn.Module:
    """A deep copy that uses the very same parameter objects for those in ``shared``."""
    memo: dict[int, object] = {id(parameter): parameter for parameter in shared}
    return copy.deepcopy(model, memo)


def meta_copy(model: nn.Module) -> nn.Module:
    """The same architecture without storage; the model is only read, nothing is allocated."""
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=False
        )
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    twin = copy.deepcopy(model, memo)
    config = getattr(twin, "config", None)
    if config is not None and getattr(config, "pad_token_id", None) is not None:
        # Or GPT-2 looks for padding in its input, which has no values here.
        config.pad_token_id = None
    return twin


def replace_modules(model: nn.Module, replacements: Mapping[str, nn.Module]) -> nn.Module:
    """Put modules at their full names, in place.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2))
        >>> replace_modules(model, {"0": nn.Identity()})
        Sequential(
          (0): Identity()
        )
    """
    for name, module in replacements.items():
        parent, _, child = name.rpartition(".")
        model.get_submodule(parent).register_module(child, module)
    return model


def frozen_view(base: nn.Linear) -> nn.Linear:
    """A frozen layer of its own on the very same weight and bias.

    Hooks on the teacher's layer must not fire in the student.
    """
    shell = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
    shell.weight = base.weight
    shell.register_parameter("bias", base.bias)
    return shell.requires_grad_(False)
