"""Ranks as a person gives them, checked and resolved to one whole number for every layer."""

import difflib
import re
from collections.abc import Mapping, Sequence

from pclora_lab.nn.counting import LayerCount
from pclora_lab.wording import listed, shown

__all__ = ["check_rank", "check_ranks", "resolve_ranks"]

Rank = int | str | Mapping[str, int] | Sequence[tuple[str, int]]


def resolve_ranks(layers: tuple[LayerCount, ...], rank: Rank) -> dict[str, int]:
    """One rank for every layer.

    Args:
        layers: the layers of a trace.
        rank: a whole number for all, ``"25%"`` of each layer's break-even rank (at least 1), or
            a rank by layer name, also as pairs.

    Raises:
        ValueError: not a rank, at or above a layer's break-even, a layer without one, or a name
            that no layer has.

    Example:
        >>> layer = LayerCount("fc", 768, 768, True, 1, 4)
        >>> resolve_ranks((layer,), "25%")
        {'fc': 96}
    """
    checked = check_ranks(rank)
    if isinstance(checked, tuple):
        given = dict(checked)
        _refuse_other_names(layers, given)
        ranks = {layer.name: _layer_rank(layer, given[layer.name]) for layer in layers}
    else:
        ranks = {layer.name: _layer_rank(layer, checked) for layer in layers}
    _refuse_growth(layers, ranks, uniform=isinstance(checked, int))
    return ranks


def _refuse_other_names(layers: tuple[LayerCount, ...], given: Mapping[str, int | str]) -> None:
    names = [layer.name for layer in layers]
    unknown = [name for name in given if name not in names]
    if unknown:
        near = difflib.get_close_matches(unknown[0], names, n=1)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the layers are {listed(names)}"
        raise ValueError(
            f"rank {given[unknown[0]]} is given for {unknown[0]}, which is no layer that is "
            f"replaced: {hint}"
        )
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(f"no rank is given for {listed(missing)}: name every layer")


def _layer_rank(layer: LayerCount, rank: int | str) -> int:
    if isinstance(rank, int):
        return rank
    share = float(rank.rstrip("%")) / 100
    exact = layer.in_features * layer.out_features / (layer.in_features + layer.out_features)
    return min(max(1, int(share * exact)), max(1, layer.largest_rank))


def _exact_break_even(layer: LayerCount) -> float:
    exact = layer.in_features * layer.out_features / (layer.in_features + layer.out_features)
    return round(exact, 1)


def _refuse_growth(layers: tuple[LayerCount, ...], ranks: Mapping[str, int], uniform: bool) -> None:
    for layer in layers:
        rank = ranks[layer.name]
        if rank > layer.largest_rank:
            fits = min(la.largest_rank for la in layers) if uniform else layer.largest_rank
            if layer.largest_rank == 0:
                raise ValueError(
                    f"{layer.name} ({layer.in_features}→{layer.out_features}) is too thin: no rank "
                    "makes it smaller. Leave it out with a targets expression that does not match "
                    "it."
                )
            raise ValueError(
                f"rank {rank} is not below the break-even rank {_exact_break_even(layer):g} of "
                f"{layer.name} ({layer.in_features}→{layer.out_features}): the layer would not "
                f"shrink. Use a rank of at most {fits}{'' if uniform else ' there'}, or a share "
                'such as "25%".'
            )


def check_rank(rank: object) -> int | str:
    """A positive whole number, or a percentage of each layer's break-even rank.

    Raises:
        ValueError: 0, negative, 7.5, "abc", "0%", "120%".

    Example:
        >>> check_rank("25%"), check_rank(8)
        ('25%', 8)
    """
    cure = 'use a whole number such as 16, or a share of the break-even rank such as "25%"'
    if isinstance(rank, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", rank)
        if match and 0 < float(match[1]) <= 100:
            return f"{match[1]}%"
        if re.fullmatch(r"\s*-?[0-9]{1,18}\s*", rank):
            return check_rank(int(rank))
        raise ValueError(f"rank {shown(rank)} is not a rank: {cure}")
    if isinstance(rank, bool) or not isinstance(rank, int):
        raise ValueError(f"rank {shown(rank)} is not a whole number: {cure}")
    if rank < 1:
        raise ValueError(f"rank {rank} leaves nothing of the layer: {cure}")
    return rank


def check_ranks(rank: object) -> int | str | tuple[tuple[str, int | str], ...]:
    """As :func:`check_rank`, or a rank by layer name, kept as pairs in the order of the names.

    Args:
        rank: one for all layers, or a mapping (or pairs) of layer names to ranks.

    Raises:
        ValueError: see :func:`check_rank`; no layer, a layer that is named twice.

    Example:
        >>> check_ranks({"fc2": 8, "fc1": "25%"})
        (('fc1', '25%'), ('fc2', 8))
    """
    if not isinstance(rank, (Mapping, tuple, list)):
        return check_rank(rank)
    pairs = list(rank.items()) if isinstance(rank, Mapping) else list(rank)
    checked: dict[str, int | str] = {}
    for pair in pairs:
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str)):
            raise ValueError(
                f"{shown(pair)} is no layer name with its rank: write {{name: rank, …}}"
            )
        name, value = pair
        if name in checked:
            raise ValueError(f"{name} is given two ranks, {checked[name]} and {value}: keep one")
        try:
            checked[name] = check_rank(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    if not checked:
        raise ValueError("rank names no layer: give one number for all, or {name: rank, …}")
    return tuple(sorted(checked.items()))
