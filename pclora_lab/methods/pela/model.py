"""Factorize a dense model once, by thin SVD: PELA's low-rank step (arXiv:2310.10700)."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

import torch
from torch import nn

from pclora_lab.methods.factorization import factorize
from pclora_lab.methods.pclora.layers import PCLoRALinear
from pclora_lab.methods.pela.ranks import excluded_parts, pela_layers, pela_ranks
from pclora_lab.methods.trial import try_student, unchanged_on_failure
from pclora_lab.nn.counting import count_model
from pclora_lab.nn.forward import Inputs
from pclora_lab.nn.layers.matching import exactly
from pclora_lab.nn.layers.wrappers import innermost, unwrapped
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.nn.surgery import deepcopy_sharing, get_linear, meta_copy, replace_modules

__all__ = ["PELARecord", "as_dense", "factorize_model", "pela_record"]


class PELARecord(TypedDict):
    """How a model was factorized; it stands in ``model.pela`` and in the saved ``config.json``.

    Attributes:
        ratio: dense weights per factor weight; None if ranks were given.
        ranks: by layer name.
        exclude: parts of names whose layers stayed dense.
    """

    ratio: float | None
    ranks: dict[str, int]
    exclude: list[str]


def pela_record(model: nn.Module) -> PELARecord | None:
    """How the model was factorized, or None if it was not."""
    return getattr(innermost(model), "pela", None)


def factorize_model(
    model: nn.Module,
    *,
    ratio: float = 2.0,
    rank: int | str | None = None,
    ranks: Mapping[str, int] | None = None,
    exclude: Iterable[str] | None = None,
    targets: str = "blocks",
    min_out: int = 10,
    example: Inputs | None = None,
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
            not shrink a layer, weights that are not finite, a model that is low-rank already, or a
            result that would not run.

    Source:
        PELA, arXiv:2310.10700.

    Example:
        >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
        >>> small = factorize_model(net, targets="", example=torch.zeros(1, 64))
        >>> small.pela["ranks"], sum(p.numel() for p in small[0].parameters())
        ({'0': 16}, 2112)
    """
    model = unwrapped(model)
    parts, done, twin = excluded_parts(model, exclude), pela_record(model), as_dense(model)
    candidates = pela_layers(twin, exclude=parts, targets=targets, min_out=min_out)
    if done is None:
        names = [name for name in candidates if ranks is None or name in ranks]
        _refuse_bypassed(model, names, example)
    wanted = pela_ranks(
        twin, ratio, rank=rank, ranks=ranks, exclude=parts, targets=targets, min_out=min_out
    )
    by_ratio = rank is None and ranks is None
    record = PELARecord(ratio=ratio if by_ratio else None, ranks=wanted, exclude=list(parts))
    if done is not None:
        return _same_again(model, done, record)
    with unchanged_on_failure(model):
        bases = {name: get_linear(model, name) for name in wanted}
        small = _replaced(model, bases, wanted)
        vars(small).update(pela=record)
        return try_student(small, model, example, bases=bases)


def _replaced(
    model: nn.Module, bases: Mapping[str, nn.Linear], ranks: Mapping[str, int]
) -> nn.Module:
    layers = _low_rank_layers(bases, ranks)
    weights = [base.get_parameter("weight") for base in bases.values()]
    return replace_modules(deepcopy_sharing(model, weights), layers)


def _refuse_bypassed(model: nn.Module, names: Iterable[str], example: Inputs | None) -> None:
    if names := list(names):
        count_model(model, targets=exactly(names), example=example)


def as_dense(model: nn.Module) -> nn.Module:
    """The model on the meta device, as it was before it was factorized.

    Raises:
        ValueError: it has low-rank layers of another method.
    """
    low_rank = {n: m for n, m in model.named_modules() if isinstance(m, LowRankLinear)}
    fading = any(isinstance(m, PCLoRALinear) for m in model.modules())
    if fading or (low_rank and pela_record(model) is None):
        raise ValueError(
            f"{type(model).__name__} has low-rank layers of another method: pass the dense model"
        )
    with torch.device("meta"):
        dense = {
            n: nn.Linear(m.in_features, m.out_features, bias=m.C is not None)
            for n, m in low_rank.items()
        }
    return replace_modules(meta_copy(model), dense)


def _same_again(model: nn.Module, done: PELARecord, wanted: PELARecord) -> nn.Module:
    if done != wanted:
        ratio = done["ratio"]
        how = "with given ranks" if ratio is None else f"at ratio {ratio:g}"
        raise ValueError(
            f"{type(model).__name__} is already factorized {how}, leaving dense "
            f"{', '.join(done['exclude']) or 'nothing'}: for other options pass the dense one"
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
    layer.down.weight = nn.Parameter(A, base.weight.requires_grad)
    layer.up.weight = nn.Parameter(B, base.weight.requires_grad)
    if bias is not None:
        layer.up.bias = nn.Parameter(bias.detach().clone(), bias.requires_grad)
    return layer.train(base.training)
