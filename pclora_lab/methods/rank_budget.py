"""From a budget to a rank for every layer: the same for all, or where the energy is."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pclora_lab.nn.counting import LayerCount, ModelCounts
from pclora_lab.nn.ranks import resolve_ranks
from pclora_lab.wording import listed, rounded_up

__all__ = ["ranks_for_budget"]

_CHOICES = {
    "budget_unit": ("params", "macs"),
    "of": ("replaced", "whole"),
    "rank_allocation": ("uniform", "energy"),
}


def ranks_for_budget(
    counts: ModelCounts,
    budget: float,
    *,
    budget_unit: str = "params",
    of: str = "replaced",
    rank_allocation: str = "uniform",
    spectra: Mapping[str, Tensor] | None = None,
) -> dict[str, int]:
    """The ranks that a budget buys; what they cost is never above it.

    ``uniform`` takes the largest r with ``Σ_l cost_l(min(r, largest_l)) ≤ budget``. ``energy``
    starts every layer at rank 1 and then keeps the singular value with the largest
    ``(σ²/Σσ²) / cost`` that still fits, where one more rank costs ``in + out`` parameters or
    ``tokens · (in + out)`` MACs. No layer gets more than its ``largest_rank``.

    Args:
        counts: the trace of a dense model.
        budget: the fraction that is kept, in (0, 1].
        budget_unit: ``params`` or ``macs``.
        of: what it is a fraction of, the ``replaced`` layers or the ``whole`` model.
        rank_allocation: ``uniform`` or ``energy``.
        spectra: singular values by layer, from :func:`weight_spectra`; ``energy`` needs them.

    Raises:
        ValueError: an unknown choice, a budget outside (0, 1] or below the smallest possible
            (which is named), a layer that no rank makes smaller, or missing spectra.

    Example:
        >>> layers = tuple(LayerCount(name, 16, 16, False, 1, 4) for name in ("a", "b"))
        >>> counts = ModelCounts(layers, params=512, macs=512, bytes=2048)
        >>> ranks_for_budget(counts, 0.6)
        {'a': 4, 'b': 4}
        >>> spectra = {"a": torch.tensor([1.0] * 16), "b": torch.tensor([1.0, 0.1] + [0.0] * 14)}
        >>> ranks_for_budget(counts, 0.6, rank_allocation="energy", spectra=spectra)
        {'a': 7, 'b': 1}
    """
    for name, value in (
        ("budget_unit", budget_unit),
        ("of", of),
        ("rank_allocation", rank_allocation),
    ):
        if value not in _CHOICES[name]:
            raise ValueError(f"{name} is {value!r}: use one of {', '.join(_CHOICES[name])}")
    resolve_ranks(counts.layers, 1)  # refuses layers that no rank makes smaller
    cost = LayerCount.low_rank_params if budget_unit == "params" else LayerCount.low_rank_macs
    room = _room(counts, budget, budget_unit, of, cost)
    if rank_allocation == "uniform":
        return _uniform(counts.layers, room, cost)
    gains = _gains(counts.layers, spectra)
    return _greedy(counts.layers, room, cost, gains)


Cost = Callable[[LayerCount, int], int]


def _room(counts: ModelCounts, budget: float, budget_unit: str, of: str, cost: Cost) -> int:
    """How many parameters or MACs the low-rank layers may have together."""
    replaced = sum(getattr(layer, budget_unit) for layer in counts.layers)
    total = replaced if of == "replaced" else getattr(counts, budget_unit)
    least = sum(cost(layer, 1) for layer in counts.layers)
    smallest = (total - replaced + least) / total
    named = f"the smallest possible here is {rounded_up(smallest)}"
    if isinstance(budget, bool) or not (isinstance(budget, int | float) and 0 < budget <= 1):
        raise ValueError(
            f"budget is {budget!r}: it is the fraction of the {budget_unit} that is kept, a "
            f"number up to 1; {named}"
        )
    # The last bit of a fraction such as after/before must not cost a rank.
    room = math.floor(budget * total * (1 + 1e-12)) - (total - replaced)
    if room < least:
        raise ValueError(
            f"budget {budget:g} of the {of} {budget_unit} is below rank 1 in every layer: {named}"
        )
    return room


def _uniform(layers: tuple[LayerCount, ...], room: int, cost: Cost) -> dict[str, int]:
    def spent(rank: int) -> int:
        return sum(cost(layer, min(rank, layer.largest_rank)) for layer in layers)

    ranks = range(1, max(layer.largest_rank for layer in layers) + 1)
    rank = bisect_right(ranks, room, key=spent)  # as many fit, and they begin with 1
    return {layer.name: min(rank, layer.largest_rank) for layer in layers}


def _gains(
    layers: tuple[LayerCount, ...], spectra: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """σ²/Σσ² of every layer, largest first."""
    known = spectra or {}
    missing = [layer.name for layer in layers if layer.name not in known]
    if missing:
        raise ValueError(
            f'rank_allocation="energy" needs the singular values of {listed(missing)}: pass '
            "spectra=weight_spectra(model)"
        )
    energies = {la.name: known[la.name].detach().cpu().double().square() for la in layers}
    broken = [name for name, energy in energies.items() if not energy.isfinite().all()]
    if broken:
        raise ValueError(f"the spectra of {listed(broken)} are not finite: check the weights")
    return {
        name: energy.sort(descending=True).values / energy.sum().clamp_min(1e-300)
        for name, energy in energies.items()
    }


def _greedy(
    layers: tuple[LayerCount, ...], room: int, cost: Cost, gains: Mapping[str, Tensor]
) -> dict[str, int]:
    prices = [cost(layer, 2) - cost(layer, 1) for layer in layers]
    offers = [gains[la.name][1 : la.largest_rank] / prices[i] for i, la in enumerate(layers)]
    owners = torch.repeat_interleave(torch.tensor([len(offer) for offer in offers], device="cpu"))
    # Stable: equal offers are taken in the order of the layers.
    order = torch.cat(offers).argsort(descending=True, stable=True)
    ranks = {layer.name: 1 for layer in layers}
    room -= sum(cost(layer, 1) for layer in layers)
    # A layer whose next value no longer fits never fits again, since each costs it the same; so
    # what it gets are its largest values.
    for owner in owners[order].tolist():
        if prices[owner] <= room:
            ranks[layers[owner].name] += 1
            room -= prices[owner]
    return ranks
