"""Find the linear layers to replace, prove that each one is really used, replace them."""

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "block_names",
    "call_model",
    "copy_sharing",
    "evaluating",
    "example_input",
    "find_targets",
    "meta_copy",
    "replace_modules",
    "tokens_seen",
]


def find_targets(model: nn.Module, targets: str = "blocks") -> dict[str, nn.Linear]:
    """The linear layers that a method replaces, by full name.

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
    linears = {name: m for name, m in model.named_modules() if type(m) is nn.Linear}
    if targets == "blocks":
        found = {name: m for name, m in linears.items() if _block_of(name, linears)}
    else:
        pattern = _compile(targets)
        found = {name: m for name, m in linears.items() if pattern.search(name)}
    if not found:
        raise ValueError(_nothing_found(model, targets, linears))
    _refuse_shared(model, found)
    return found


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


def _refuse_shared(model: nn.Module, targets: Mapping[str, nn.Linear]) -> None:
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


def call_model(model: nn.Module, inputs: Tensor | Mapping[str, Tensor]) -> Tensor:
    """Run a model on a tensor or a dict of tensors and return its logits."""
    output = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    output = getattr(output, "logits", output)
    return output[0] if isinstance(output, (tuple, list)) else output


def example_input(
    model: nn.Module, device: torch.device | str | None = None
) -> Tensor | dict[str, Tensor]:
    """One input of the shape that the model says it takes (timm and transformers models do).

    Raises:
        ValueError: the model does not say; pass an example yourself.
    """
    device = device if device is not None else next(model.parameters()).device
    dummy = getattr(model, "dummy_inputs", None)
    if isinstance(dummy, Mapping):
        return {k: v.to(device) for k, v in dummy.items() if isinstance(v, Tensor)}
    config = getattr(model, "pretrained_cfg", None) or {}
    shape = config.get("input_size")
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if shape and size:
        shape = (shape[0], *size)
    if shape is None:
        raise ValueError(
            f"{type(model).__name__} does not say what input it takes: pass example=, one batch "
            "of real inputs"
        )
    return torch.zeros(1, *shape, device=device, dtype=next(model.parameters()).dtype)


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside; every module's own mode is restored after."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def forward_hooks(
    modules: Mapping[str, nn.Module], hook: Callable[[str, Tensor, Any], None]
) -> Iterator[None]:
    """Call ``hook(name, first_input, output)`` whenever one of the modules runs."""

    def named(name: str) -> Callable[..., None]:
        return lambda module, args, output: hook(name, args[0], output)

    handles = [module.register_forward_hook(named(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tokens_seen(
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
        tokens[name] += x.numel() // x.shape[-1]

    with evaluating(model), forward_hooks(targets, count):
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


def copy_sharing(model: nn.Module, shared: Iterable[nn.Parameter]) -> nn.Module:
    """A deep copy that uses the very same parameter objects for those in ``shared``."""
    memo: dict[int, Any] = {id(parameter): parameter for parameter in shared}
    return copy.deepcopy(model, memo)


def meta_copy(model: nn.Module) -> nn.Module:
    """The same architecture without storage; the model is only read, nothing is allocated."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=False
        )
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)


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
