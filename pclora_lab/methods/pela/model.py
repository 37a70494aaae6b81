"""Factorize a dense model once, by thin SVD: PELA's low-rank step (arXiv:2310.10700)."""

import math
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from pclora_lab.methods.factorization import factorize
from pclora_lab.methods.pclora.layers import PCLoRALinear
from pclora_lab.nn.counting import LayerCount, count_model
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.nn.ranks import Rank, resolve_ranks
from pclora_lab.nn.surgery import deepcopy_sharing, find_targets, meta_copy, replace_modules

__all__ = ["as_dense", "exclusions", "factorize_model", "pela_layers", "pela_rank", "pela_ranks"]

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
            f"ratio {ratio:g} leaves no rank for {', '.join(thin)}: use a smaller ratio, or leave "
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
    if rank is not None or ranks is not None:
        return _ranks_as_given(layers, rank if ranks is None else ranks)
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
    dense = _excluded(model, exclude)
    layers = {
        name: layer
        for name, layer in find_targets(model, targets).items()
        if layer.out_features >= min_out and not _matches(name, dense)
    }
    if targets == "blocks":
        _refuse_attention(model, dense)
    if not layers:
        raise ValueError(f"exclude={dense} and min_out={min_out} leave no layer to factorize")
    return layers


def _excluded(model: nn.Module, exclude: Iterable[str] | None) -> tuple[str, ...]:
    if isinstance(exclude, str):
        raise ValueError(f"exclude is the string {exclude!r}: pass a tuple, ({exclude!r},)")
    return exclusions(model) if exclude is None else tuple(exclude)


def _matches(name: str, parts: Iterable[str]) -> bool:
    return any(part in name for part in parts)


def _refuse_attention(model: nn.Module, exclude: Iterable[str]) -> None:
    """Name the blocks' ``nn.MultiheadAttention``, which would stay dense without a word."""
    inside = [n for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)]
    kept = [n for n in inside if re.search(r"\b\d+\.", n) and not _matches(n, exclude)]
    if kept:
        raise ValueError(
            f"{', '.join(kept)}: nn.MultiheadAttention reads its weights directly and can't be "
            "factorized. To leave it dense, say so: "
            f"exclude=(*exclusions(model), {kept[0].rpartition('.')[2]!r})"
        )


def _ranks_as_given(layers: Mapping[str, nn.Linear], rank: Rank) -> dict[str, int]:
    unknown = [name for name in rank if name not in layers] if isinstance(rank, Mapping) else []
    if unknown:
        raise ValueError(
            f"ranks names {', '.join(unknown)}, which stay dense here: leave them out of ranks, or "
            "change exclude= or targets="
        )
    # The bias is kept where there is one, so it plays no part in whether a layer shrinks.
    shapes = ((n, m.in_features, m.out_features) for n, m in layers.items())
    return resolve_ranks(tuple(LayerCount(*shape, True, 1, 1) for shape in shapes), rank)


def factorize_model(
    model: nn.Module,
    *,
    ratio: float = 2.0,
    rank: int | str | None = None,
    ranks: Mapping[str, int] | None = None,
    exclude: Iterable[str] | None = None,
    targets: str = "blocks",
    min_out: int = 10,
    example: Tensor | Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """A new model with a :class:`LowRankLinear` in place of every target layer.

    Args:
        model: the dense model; it is not changed, and the result shares nothing with it.
        ratio: see :func:`pela_rank`. The paper takes 2 for DeiT, 1.5 for Swin.
        rank: instead of a ratio, a rank for all layers or a share such as ``"25%"``.
        ranks: instead of a ratio, a rank by layer name.
        exclude: layers with one of these in their name stay dense; None is :func:`exclusions`.
        targets: see :func:`pclora_lab.nn.surgery.find_targets`.
        min_out: layers with fewer outputs stay dense.
        example: one input for the check that every target fires; timm and transformers models
            know theirs.

    Returns:
        The factorized model; ``.pela`` holds ratio (None if ranks were given), ranks and
        exclusions. Factorized again with the same options, a copy.

    Raises:
        ValueError: no usable target, one that is tied, never called or too thin, a rank that would
            not shrink a layer, weights that are not finite, or a model that is low-rank already.

    Source:
        PELA, arXiv:2310.10700.

    Example:
        >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
        >>> small = factorize_model(net, targets="", example=torch.zeros(1, 64))
        >>> small.pela["ranks"], sum(p.numel() for p in small[0].parameters())
        ({'0': 16}, 2112)
    """
    dense = _excluded(model, exclude)
    kinds = {"exclude": dense, "targets": targets, "min_out": min_out}
    twin = as_dense(model)
    if not hasattr(model, "pela"):
        names = [n for n in pela_layers(twin, **kinds) if ranks is None or n in ranks]
        _refuse_bypassed(model, names, example)
    wanted = pela_ranks(twin, ratio, rank=rank, ranks=ranks, **kinds)
    by_ratio = rank is None and ranks is None
    record = {"ratio": ratio if by_ratio else None, "ranks": wanted, "exclude": list(dense)}
    if hasattr(model, "pela"):
        return _same_again(model, record)
    bases = {name: model.get_submodule(name) for name in wanted}
    layers = _low_rank_layers(bases, wanted)
    small = replace_modules(deepcopy_sharing(model, [b.weight for b in bases.values()]), layers)
    small.pela = record
    return small


def _refuse_bypassed(
    model: nn.Module, names: Iterable[str], example: Tensor | Mapping[str, Tensor] | None
) -> None:
    exactly = "|".join(map(re.escape, names))
    if exactly:
        count_model(model, targets=f"^(?:{exactly})$", example=example)


def as_dense(model: nn.Module) -> nn.Module:
    """The model on the meta device, as it was before it was factorized.

    Raises:
        ValueError: it has low-rank layers of another method.
    """
    low_rank = {n: m for n, m in model.named_modules() if isinstance(m, LowRankLinear)}
    fading = any(isinstance(m, PCLoRALinear) for m in model.modules())
    if fading or (low_rank and not hasattr(model, "pela")):
        raise ValueError(
            f"{type(model).__name__} has low-rank layers of another method: pass the dense model"
        )
    with torch.device("meta"):
        dense = {
            n: nn.Linear(m.in_features, m.out_features, bias=m.C is not None)
            for n, m in low_rank.items()
        }
    return replace_modules(meta_copy(model), dense)


def _same_again(model: nn.Module, record: Mapping[str, Any]) -> nn.Module:
    if model.pela != record:
        ratio = model.pela["ratio"]
        how = "with given ranks" if ratio is None else f"at ratio {ratio:g}"
        raise ValueError(
            f"{type(model).__name__} is already factorized {how}, leaving dense "
            f"{', '.join(model.pela['exclude']) or 'nothing'}: for other options pass the dense one"
        )
    return deepcopy_sharing(model, ())


def _low_rank_layers(
    bases: Mapping[str, nn.Linear], ranks: Mapping[str, int]
) -> dict[str, LowRankLinear]:
    # One layer per core: LAPACK's own threads mostly wait for each other, on a busy machine ten
    # times as long as they work.
    threads = torch.get_num_threads()
    on_cpu = all(base.weight.device.type == "cpu" for base in bases.values())
    workers = min(threads, 8) if on_cpu else 1
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            layers = pool.map(_low_rank, bases, bases.values(), [ranks[name] for name in bases])
            return dict(zip(bases, layers, strict=True))
    finally:
        # Of OpenMP's threads every thread has its own number, but of MKL's there is only one.
        torch.set_num_threads(threads)


def _low_rank(name: str, base: nn.Linear, rank: int) -> LowRankLinear:
    try:
        A, B = factorize(base.weight, rank)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    widths, bias = (base.in_features, base.out_features), base.bias
    # Made without storage: the usual start would draw from the caller's random numbers.
    layer = LowRankLinear(*widths, rank, bias=bias is not None, device="meta")
    layer.A = nn.Parameter(A, base.weight.requires_grad)
    layer.B = nn.Parameter(B, base.weight.requires_grad)
    if bias is not None:
        layer.C = nn.Parameter(bias.detach().clone(), bias.requires_grad)
    return layer.train(base.training)
