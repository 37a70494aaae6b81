"""Which layers PELA factorizes, and at which rank."""

import math
from collections.abc import Iterable, Mapping

from torch import nn

from pclora_lab.nn.counting import LayerCount
from pclora_lab.nn.ranks import Rank, resolve_ranks
from pclora_lab.nn.surgery import bypassed_attention, find_targets
from pclora_lab.wording import listed

__all__ = ["excluded_parts", "exclusions", "pela_layers", "pela_rank", "pela_ranks"]

_ALWAYS_DENSE = ("norm", "head", "patch_embed", "downsample")
# What the paper keeps dense besides, by class of the model.
_ALSO_DENSE = {
    "SwinTransformer": ("attn.proj",),
    "SwinForImageClassification": ("attention.o_proj",),
}


def pela_rank(in_features: int, out_features: int, ratio: float) -> int:
    """``⌊in·out / (ratio·(in + out))⌋``: the two factors have at most 1/ratio of W's values.

    Raises:
        ValueError: a ratio that is not above 1, or one so large that no rank is left.

    Example:
        >>> pela_rank(768, 2304, 2.0)
        288
    """
    return _ranks_by_ratio({"the layer": (in_features, out_features)}, ratio)["the layer"]


def _ranks_by_ratio(widths: Mapping[str, tuple[int, int]], ratio: float) -> dict[str, int]:
    # Written so that NaN fails it too.
    if not (isinstance(ratio, int | float) and 1 < ratio < math.inf):
        raise ValueError(f"ratio is {ratio!r}: it must be a number above 1, or the layer grows")
    ranks = {name: int(i * o / (ratio * (i + o))) for name, (i, o) in widths.items()}
    thin = [f"{name} ({i}→{o})" for name, (i, o) in widths.items() if ranks[name] < 1]
    if thin:
        raise ValueError(
            f"ratio {ratio:g} leaves no rank for {listed(thin)}: use a smaller ratio, or leave "
            "out such thin layers with exclude="
        )
    return ranks


def exclusions(model: nn.Module) -> tuple[str, ...]:
    """Parts of names whose layers PELA leaves dense in such a model.

    Example:
        >>> exclusions(nn.Sequential())
        ('norm', 'head', 'patch_embed', 'downsample')
    """
    return _ALWAYS_DENSE + _ALSO_DENSE.get(type(model).__name__, ())


def pela_ranks(
    model: nn.Module,
    ratio: float = 2.0,
    *,
    rank: int | str | None = None,
    ranks: Mapping[str, int] | None = None,
    exclude: Iterable[str] | None = None,
    targets: str = "blocks",
    min_out: int = 10,
) -> dict[str, int]:
    """The rank of every layer that :func:`factorize_model` would replace; see there.

    Example:
        >>> pela_ranks(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 4)), targets="")
        {'0': 16}
    """
    layers = pela_layers(model, exclude=exclude, targets=targets, min_out=min_out)
    if rank is not None and ranks is not None:
        raise ValueError("rank and ranks are both given: pass one of them")
    given = rank if ranks is None else ranks
    if given is not None:
        return _ranks_as_given(layers, given)
    return _ranks_by_ratio({n: (m.in_features, m.out_features) for n, m in layers.items()}, ratio)


def pela_layers(
    model: nn.Module,
    *,
    exclude: Iterable[str] | None = None,
    targets: str = "blocks",
    min_out: int = 10,
) -> dict[str, nn.Linear]:
    """The layers that :func:`factorize_model` would replace; see there.

    Raises:
        ValueError: there is none, or one can't be replaced.
    """
    dense = excluded_parts(model, exclude)
    layers = {
        name: layer
        for name, layer in find_targets(model, targets).items()
        if layer.out_features >= min_out and not _matches(name, dense)
    }
    kept = [name for name in bypassed_attention(model, targets) if not _matches(name, dense)]
    if kept:
        raise ValueError(
            f"{listed(kept)}: nn.MultiheadAttention reads its weights directly and can't be "
            "factorized. To leave it dense, say so: "
            f"exclude=(*exclusions(model), {kept[0].rpartition('.')[2]!r})"
        )
    if not layers:
        raise ValueError(f"exclude={dense} and min_out={min_out} leave no layer to factorize")
    return layers


def excluded_parts(model: nn.Module, exclude: Iterable[str] | None) -> tuple[str, ...]:
    """The given parts of names, or those of :func:`exclusions`."""
    if isinstance(exclude, str):
        raise ValueError(f"exclude is the string {exclude!r}: pass a tuple, ({exclude!r},)")
    return exclusions(model) if exclude is None else tuple(exclude)


def _matches(name: str, parts: Iterable[str]) -> bool:
    return any(part in name for part in parts)


def _ranks_as_given(layers: Mapping[str, nn.Linear], rank: Rank) -> dict[str, int]:
    unknown = [name for name in rank if name not in layers] if isinstance(rank, Mapping) else []
    if unknown:
        raise ValueError(
            f"ranks names {listed(unknown)}, which stay dense here: leave them out of ranks, or "
            "change exclude= or targets="
        )
    # The bias is kept where there is one, so it plays no part in whether a layer shrinks.
    shapes = ((n, m.in_features, m.out_features) for n, m in layers.items())
    return resolve_ranks(tuple(LayerCount(*shape, True, 1, 1) for shape in shapes), rank)
