"""Which rank a layer gets: as given, or as much as a budget buys, in what the budget counts."""

from dataclasses import dataclass

import pytest
import torch

from pclora_lab.fields import known_fields, options_of
from pclora_lab.methods.rank_selection import (
    LowRankConfig,
    chosen_ranks,
    lora_rank,
    planned_ranks,
)
from pclora_lab.methods.registry import METHODS
from pclora_lab.methods.svd import SVDConfig
from pclora_lab.nn.counting import LayerCount, ModelCounts
from pclora_lab.nn.sizes import plan

# Of many tokens and few: parameters and MACs are not spent alike.
LAYERS = (
    LayerCount("a", 24, 40, True, 10, 4),
    LayerCount("b", 40, 24, True, 1, 4),
    LayerCount("c", 30, 30, True, 3, 4),
)
COUNTS = ModelCounts(
    LAYERS,
    params=sum(layer.params for layer in LAYERS) + 100,
    macs=sum(layer.macs for layer in LAYERS) + 500,
    bytes=0,
)
SPECTRA = {
    "a": torch.logspace(0, -8, 24),
    "b": torch.logspace(0, -0.2, 24),
    "c": torch.logspace(0, -1, 30),
}
LOW = {"params": LayerCount.low_rank_params, "macs": LayerCount.low_rank_macs}


def spent(ranks: dict[str, int], unit: str) -> int:
    return sum(LOW[unit](layer, ranks[layer.name]) for layer in LAYERS)


def not_asked() -> dict:
    raise AssertionError("the singular values are not needed")


@pytest.mark.parametrize("rank", [5, "40%", {"a": 3, "b": 4, "c": 5}])
@pytest.mark.parametrize("unit", ["params", "macs"])
def test_a_given_rank_is_taken_as_it_is(rank, unit):
    config = LowRankConfig(rank=rank, budget_unit=unit)
    assert chosen_ranks(config, COUNTS, not_asked) == plan(COUNTS, rank).ranks


@pytest.mark.parametrize("rank", [5, "40%"])
@pytest.mark.parametrize("unit", ["params", "macs"])
def test_energy_with_a_given_rank_spends_what_that_rank_costs(unit, rank):
    config = LowRankConfig(rank=rank, budget_unit=unit, rank_allocation="energy")
    ranks = chosen_ranks(config, COUNTS, lambda: SPECTRA)
    room = spent(plan(COUNTS, rank).ranks, unit)
    assert ranks["a"] < min(ranks["b"], ranks["c"]), "its singular values fall fastest"
    assert spent(ranks, unit) <= room
    for layer in LAYERS:
        more = {**ranks, layer.name: ranks[layer.name] + 1}
        assert ranks[layer.name] == layer.largest_rank or spent(more, unit) > room, "it would fit"


@pytest.mark.parametrize("unit", ["params", "macs"])
@pytest.mark.parametrize("allocation", ["uniform", "energy"])
def test_a_budget_overrides_the_rank(unit, allocation):
    options = {"budget": 0.5, "budget_unit": unit, "rank_allocation": allocation}
    found = [
        chosen_ranks(LowRankConfig(rank=rank, **options), COUNTS, lambda: SPECTRA)
        for rank in (1, 9)
    ]
    dense = sum(getattr(layer, unit) for layer in LAYERS)
    assert found[0] == found[1]
    assert spent(found[0], unit) <= 0.5 * dense < spent({n: r + 1 for n, r in found[0].items()},
                                                        unit)  # fmt: skip


@pytest.mark.parametrize("options", [{"rank": 6}, {"budget": 0.4}, {"budget": 0.4, "rank": 2}])
def test_energy_is_planned_as_uniform_which_needs_no_weights(options):
    energy = LowRankConfig(rank_allocation="energy", **options)
    uniform = LowRankConfig(**options)
    assert planned_ranks(energy, COUNTS) == chosen_ranks(uniform, COUNTS, not_asked)


def test_what_can_not_be_combined_is_refused_and_the_rest_is_not():
    by_layer = {"a": 1, "b": 2}
    with pytest.raises(ValueError, match='embeddings="low_rank" can\'t be combined'):
        LowRankConfig(embeddings="low_rank", rank_allocation="energy")
    with pytest.raises(ValueError, match="rank is given by layer.*would choose other ranks"):
        LowRankConfig(rank=by_layer, rank_allocation="energy")
    LowRankConfig(embeddings="low_rank")
    LowRankConfig(embeddings="low_rank", rank=by_layer, budget=0.2)
    LowRankConfig(rank=8, rank_allocation="energy")
    LowRankConfig(rank=by_layer, rank_allocation="energy", budget=0.2)
    assert LowRankConfig(rank=by_layer).by_layer and not LowRankConfig(rank="10%").by_layer


@pytest.mark.parametrize("budget", [1e-6, 1, None])
def test_a_budget_is_a_share_or_left_out(budget):
    assert LowRankConfig(budget=budget).budget == budget
    for wrong in (9e-7, 1.0001, "0.1"):
        with pytest.raises(ValueError, match="budget"):
            LowRankConfig(budget=wrong)


def test_ranks_by_layer_are_written_as_an_object():
    for rank in (7, "25%", {"a": 4, "b": "10%"}):
        assert LowRankConfig(rank=rank).to_dict()["rank"] == rank


def test_names_of_older_versions_are_understood():
    old = {"unit": "macs", "spend": "energy"}
    config = LowRankConfig(**known_fields(LowRankConfig, old))
    assert (config.budget_unit, config.rank_allocation) == ("macs", "energy")


def test_the_form_shows_rank_budget_and_how_it_is_spent_as_what_decides_the_size():
    shown = {n: o.sizes for n, o in options_of(LowRankConfig).items() if not o.hidden}
    assert shown == {"rank": True, "budget": True, "rank_allocation": True}


def test_one_press_of_an_arrow_key_stays_within_the_range():
    for method in METHODS.values():
        for described in options_of(method.Config).values():
            if described.kind == "number" and described.high <= 1:
                assert 0 < described.step <= 0.1 * (described.high - described.low)


def test_a_label_names_what_is_not_at_its_default_and_fits_a_folder():
    assert SVDConfig().label() == "svd"
    assert SVDConfig(rank=4, budget=0.2).label() == "svd-rank4-budget0.2"
    assert SVDConfig(rank={"a": 4}).label() == "svd-r-by-layer"
    assert SVDConfig(rank={"a": 4}, budget=0.2).label() == "svd-r-by-layer-budget0.2"
    assert len(SVDConfig(rank={"a": 4}, targets="x" * 80).label()) == 60


@dataclass
class Adapters:
    """Of one rank, given or bought."""

    rank: int = 7
    budget: float | None = None


def test_adapters_have_the_given_rank_or_the_largest_that_the_budget_buys():
    each = sum(layer.in_features + layer.out_features for layer in LAYERS)
    room = sum(layer.params for layer in LAYERS)
    assert lora_rank(Adapters(), LAYERS) == 7
    for budget in (0.07, 0.1, 0.5, 1.0):
        rank = lora_rank(Adapters(budget=budget), iter(LAYERS))
        assert rank * each <= budget * room < (rank + 1) * each
    for rank in range(1, 20):
        assert lora_rank(Adapters(budget=rank * each / room), LAYERS) == rank, "not a bit less"


@pytest.mark.parametrize("smallest", [1, 2, 5])
def test_the_smallest_budget_that_is_named_works(smallest):
    with pytest.raises(ValueError, match=f"rank {smallest} in 3 layers") as refused:
        lora_rank(Adapters(budget=0.01), LAYERS, smallest)
    named = float(str(refused.value).rpartition(" ")[2])
    assert lora_rank(Adapters(budget=named), LAYERS, smallest) == smallest
    with pytest.raises(ValueError, match="too small"):
        lora_rank(Adapters(budget=named - 1e-4), LAYERS, smallest)
