"""Find the linear layers to replace, prove that each one is really used, replace them."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from pclora_lab.nn.forward import call_model, eval_mode, forward_hooks
from pclora_lab.nn.layers.copying import deepcopy_sharing, meta_copy
from pclora_lab.nn.layers.matching import as_typed, exactly, matching_names
from pclora_lab.nn.layers.types import layer_type, plain_linear
from pclora_lab.nn.layers.unsupported import refuse_unsupported
from pclora_lab.nn.layers.wrappers import unwrapped
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.wording import listed

__all__ = [
    "as_linear",
    "block_names",
    "bypassed_attention",
    "deepcopy_sharing",
    "find_embeddings",
    "find_targets",
    "frozen_view",
    "get_linear",
    "is_linear",
    "meta_copy",
    "refuse_attention",
    "replace_modules",
    "count_inputs",
]


def is_linear(module: nn.Module) -> bool:
    """Whether it is a linear layer of some kind; see :data:`LAYER_TYPES`."""
    return layer_type(module) is not None


def as_linear(module: nn.Module) -> nn.Linear | nn.Embedding:
    """A layer as torch writes it, on the same storage where its kind has a weight at all.

    Args:
        module: an ``nn.Embedding``, returned as it is, or a layer of one of
            :data:`pclora_lab.nn.layers.types.LAYER_TYPES`.

    Raises:
        TypeError: another kind of layer.
        ValueError: a kind that can't be written as ``W x + b``; says why.
    """
    if isinstance(module, nn.Embedding):
        return module
    kind = layer_type(module)
    if kind is None:
        raise TypeError(f"{type(module).__name__} is neither a linear layer nor an embedding")
    return kind.as_linear(module)


def get_linear(model: nn.Module, name: str) -> nn.Linear:
    """The linear layer of a full name; see :func:`as_linear`.

    Raises:
        TypeError: the name is another kind of layer's.
    """
    try:
        layer = as_linear(model.get_submodule(name))
    except ValueError as error:
        raise ValueError(
            f"{name} can't be replaced: {error}. Or leave it out with a targets expression that "
            "does not match it."
        ) from error
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
            embeddings stay, and layers with one number per head, expert or coordinate, as in
            Swin v2's position bias), or a regular expression searched in the full names.

    Raises:
        ValueError: nothing found (the linear layers there are get listed), a bad expression, or
            a layer that is shared or tied.

    Example:
        >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> list(find_targets(mlp, targets="0"))
        ['0']
    """
    model = unwrapped(model)
    refuse_unsupported(model)
    linears = _linears(model)
    if targets == "blocks":
        found = _in_blocks(linears)
    else:
        matching = matching_names(targets, linears)
        found = {name: m for name, m in linears.items() if name in matching}
    if not found:
        raise ValueError(_nothing_found(model, targets, linears))
    _refuse_shared(model, found)
    return {name: get_linear(model, name) for name in found}


def _linears(model: nn.Module) -> dict[str, nn.Module]:
    """Linear layers by full name, without those that are a part of one."""
    found: dict[str, nn.Module] = {}
    whole = ""
    for name, module in model.named_modules():
        if whole and name.startswith(whole):
            continue
        if is_linear(module):
            found[name] = module
        if is_linear(module) or isinstance(module, LowRankLinear):
            whole = f"{name}."
    return found


def bypassed_attention(model: nn.Module, targets: str = "blocks") -> list[str]:
    """Names of ``nn.MultiheadAttention`` among the targets, which no method can replace.

    Example:
        >>> layer = nn.TransformerEncoderLayer(4, 1, 8)
        >>> bypassed_attention(nn.Sequential(layer)), bypassed_attention(layer, "linear")
        (['0.self_attn'], [])
    """
    model = unwrapped(model)
    inside = [n for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)]
    if targets == "blocks":
        return [name for name in inside if re.search(r"(^|\.)\d+\.", name)]
    names = {name: {name, f"{name}.out_proj"} for name in inside}
    matching = matching_names(targets, set().union(*names.values()))
    return [name for name in inside if names[name] & matching]


def refuse_attention(model: nn.Module, targets: str = "blocks") -> None:
    """Refuse what :func:`bypassed_attention` finds, which would stay dense without a word.

    Raises:
        ValueError: names the layers, and an expression that leaves them out.
    """
    bypassed = bypassed_attention(model, targets)
    if bypassed:
        others = exactly(find_targets(model, targets))
        raise ValueError(
            f"{listed(bypassed)}: nn.MultiheadAttention reads its weights directly, so it would "
            "stay dense. To leave it dense, say so with a targets expression that does not match "
            f"it: targets={as_typed(others)}"
        )


# Heads, experts and coordinates are fewer than this; what attention looks up has more features.
_FEW, _SHARE = 48, 16


def _in_blocks(linears: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Layers in blocks, without those so narrow that no useful rank makes them smaller."""
    blocks: dict[str, dict[str, int]] = {}
    for name, module in linears.items():
        if (block := _block_of(name, linears)) is not None:
            blocks.setdefault(block, {})[name] = _width(module)
    narrow = {
        name
        for widths in blocks.values()
        for name, width in widths.items()
        if width <= _FEW and _SHARE * width <= max(widths.values())
    }
    inside = {name for widths in blocks.values() for name in widths}
    return {name: module for name, module in linears.items() if name in inside - narrow}


def _width(module: nn.Module) -> int:
    """The narrower side of a linear layer, of whatever kind."""
    weight = getattr(module, "weight", None)
    return min(weight.shape) if isinstance(weight, Tensor) and weight.ndim == 2 else _FEW + 1


def _nothing_found(model: nn.Module, targets: str, linears: Iterable[str]) -> str:
    names = list(linears)
    there_are = (
        f"its linear layers are: {listed(names, most=20)}"
        if names
        else "it has no nn.Linear at all"
    )
    convolutions = sum(isinstance(m, nn.Conv1d | nn.Conv2d) for m in model.modules())
    if convolutions:
        there_are += f", and its {convolutions} convolutions are not replaced"
    return (
        f"targets={as_typed(targets)} finds no linear layer in {type(model).__name__}; "
        f"{there_are}. Pass targets as a regular expression that matches some of them."
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


def transformer_blocks(model: nn.Module) -> list[nn.Module]:
    """The numbered modules that hold two matrices or more, the deepest ones.

    Args:
        model: also one whose layers were replaced.

    Example:
        >>> layer = nn.TransformerEncoderLayer(4, 1, 8)
        >>> model = nn.ModuleDict({"blocks": nn.Sequential(layer), "head": nn.Linear(4, 2)})
        >>> transformer_blocks(model) == [layer]
        True
    """
    holders = [
        name
        for name, module in model.named_modules()
        if any(p.ndim >= 2 for p in module.parameters(recurse=False))
    ]
    blocks = [b for b in dict.fromkeys(_block_of(n, holders) for n in holders) if b is not None]
    # A stage that holds blocks, and a matrix of its own, is none.
    deepest = [b for b in blocks if not any(other.startswith(f"{b}.") for other in blocks)]
    return [model.get_submodule(name) for name in deepest]


def _refuse_shared(model: nn.Module, targets: Mapping[str, nn.Module]) -> None:
    """Refuse layers that stand in two places, or whose parameters another module uses too."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        for key, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(f"{name}.{key}" if name else key)
    for name, module in targets.items():
        for parameter in module.parameters():
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
            f"{type(model).__name__} never calls {listed(silent)} in a forward pass: it reads "
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
            f"{listed(inside)} are inside nn.TransformerEncoderLayer, whose fast path reads the "
            "weights directly. Leave them out with a targets expression that does not match them."
        )


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
    return plain_linear(base.weight, base.bias).requires_grad_(False)
