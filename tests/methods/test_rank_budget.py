"""From a budget to ranks: never above it, never less than it could buy, and where the energy is."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pclora_lab.fields import options_of
from pclora_lab.methods.factorization import activation_svd_factors, weight_spectra
from pclora_lab.methods.input_moments import InputMoments, measure_inputs
from pclora_lab.methods.rank_budget import ranks_for_budget
from pclora_lab.methods.registry import METHODS
from pclora_lab.models.loading import describe_model
from pclora_lab.nn.counting import LayerCount, ModelCounts, count_model
from pclora_lab.nn.sizes import plan
from pclora_lab.nn.surgery import find_targets

UNITS, PARTS = ("params", "macs"), ("replaced", "whole")
units, parts = st.sampled_from(UNITS), st.sampled_from(PARTS)
shares = st.floats(0, 1)


def counts_of(layers: tuple[LayerCount, ...], dense: int = 0) -> ModelCounts:
    params = dense + sum(layer.params for layer in layers)
    macs = dense + sum(layer.macs for layer in layers)
    return ModelCounts(layers, params=params, macs=macs, bytes=4 * params)


@st.composite
def models(draw, *, alike: bool = False) -> tuple[ModelCounts, dict[str, torch.Tensor]]:
    """Up to five layers, a dense part and a spectrum for each layer."""
    widths = st.tuples(st.integers(4, 40), st.integers(4, 40), st.booleans(), st.integers(1, 9))
    shapes = draw(st.lists(widths, min_size=1, max_size=5))
    if alike:
        shapes = [shapes[0]] * len(shapes)
    layers = tuple(LayerCount(f"l{i}", *shape, 4) for i, shape in enumerate(shapes))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    steepness = draw(st.sampled_from([0.0, 1.0, 5.0]))
    spectra = {
        la.name: torch.rand(min(la.in_features, la.out_features), generator=generator).pow(
            1 + steepness * i
        )
        for i, la in enumerate(layers)
    }
    return counts_of(layers, dense=draw(st.integers(0, 500))), spectra


def cost(counts: ModelCounts, ranks: dict[str, int], unit: str, of: str) -> int:
    low = {"params": LayerCount.low_rank_params, "macs": LayerCount.low_rank_macs}[unit]
    spent = sum(low(layer, ranks[layer.name]) for layer in counts.layers)
    dense = getattr(counts, unit) - sum(getattr(layer, unit) for layer in counts.layers)
    return spent + (dense if of == "whole" else 0)


def total(counts: ModelCounts, unit: str, of: str) -> int:
    if of == "whole":
        return getattr(counts, unit)
    return sum(getattr(layer, unit) for layer in counts.layers)


def between(counts: ModelCounts, share: float, unit: str, of: str) -> float:
    """A budget from the smallest possible (share 0) to all (share 1)."""
    least = cost(counts, {layer.name: 1 for layer in counts.layers}, unit, of)
    smallest = least / total(counts, unit, of)
    return min(1.0, smallest + share * (1 - smallest))


def energy(counts: ModelCounts, spectra: dict[str, torch.Tensor], ranks: dict[str, int]) -> float:
    """Σ_l of the share of the layer's energy that its rank keeps."""
    kept = 0.0
    for layer in counts.layers:
        values = np.sort(spectra[layer.name].double().numpy())[::-1] ** 2
        kept += values[: ranks[layer.name]].sum() / values.sum()
    return kept


@pytest.fixture(scope="module")
def vit_b() -> ModelCounts:
    return count_model(describe_model("vit_base_patch16_224", num_classes=10))


@settings(deadline=None)
@given(
    model=models(),
    share=shares,
    unit=units,
    of=parts,
    rank_allocation=st.sampled_from(["uniform", "energy"]),
)
def test_the_cost_is_within_the_budget_and_one_step_more_would_not_be(
    model, share, unit, of, rank_allocation
):
    counts, spectra = model
    budget = between(counts, share, unit, of)
    ranks = ranks_for_budget(
        counts, budget, budget_unit=unit, of=of, rank_allocation=rank_allocation, spectra=spectra
    )
    room = budget * total(counts, unit, of) * (1 + 1e-12)
    assert cost(counts, ranks, unit, of) <= room
    largest = {layer.name: layer.largest_rank for layer in counts.layers}
    assert all(1 <= ranks[name] <= largest[name] for name in largest)
    growing = [name for name in ranks if ranks[name] < largest[name]]
    if rank_allocation == "uniform":
        assert len({ranks[name] for name in growing}) <= 1, "one rank, but for the capped layers"
        more = [{**ranks, **{name: ranks[name] + 1 for name in growing}}] if growing else []
    else:
        more = [{**ranks, name: ranks[name] + 1} for name in growing]
    assert all(cost(counts, step, unit, of) > room for step in more)


@settings(deadline=None)
@given(model=models(), pair=st.tuples(shares, shares), unit=units, of=parts)
def test_a_larger_budget_buys_no_less(model, pair, unit, of):
    counts, spectra = model
    small, large = (between(counts, share, unit, of) for share in sorted(pair))
    options = {"budget_unit": unit, "of": of, "spectra": spectra}
    lean, rich = (ranks_for_budget(counts, b, **options) for b in (small, large))
    assert all(lean[name] <= rich[name] for name in lean)
    lean, rich = (
        ranks_for_budget(counts, b, **options, rank_allocation="energy") for b in (small, large)
    )
    assert cost(counts, lean, unit, of) <= cost(counts, rich, unit, of)
    assert energy(counts, spectra, lean) <= energy(counts, spectra, rich) + 1e-9


@settings(deadline=None)
@given(model=models(alike=True), share=shares, unit=units)
def test_energy_keeps_at_least_what_uniform_keeps_where_all_layers_cost_the_same(
    model, share, unit
):
    counts, spectra = model
    budget = between(counts, share, unit, "replaced")
    uniform = ranks_for_budget(counts, budget, budget_unit=unit)
    chosen = ranks_for_budget(
        counts, budget, budget_unit=unit, rank_allocation="energy", spectra=spectra
    )
    assert energy(counts, spectra, chosen) >= energy(counts, spectra, uniform) - 1e-9


@settings(deadline=None)
@given(model=models(), share=shares, unit=units)
def test_where_layers_cost_differently_energy_misses_at_most_one_singular_value(model, share, unit):
    counts, spectra = model
    budget = between(counts, share, unit, "replaced")
    uniform = ranks_for_budget(counts, budget, budget_unit=unit)
    chosen = ranks_for_budget(
        counts, budget, budget_unit=unit, rank_allocation="energy", spectra=spectra
    )
    steps = ({**chosen, name: rank + 1} for name, rank in chosen.items())
    one_more = max(energy(counts, spectra, step) for step in steps)
    # Greedy wastes at most the room in which its next value did not fit.
    assert one_more >= energy(counts, spectra, uniform) - 1e-9


def test_energy_is_the_best_of_all_choices_where_layers_cost_the_same():
    layers = tuple(LayerCount(name, 12, 12, True, 1, 4) for name in "abc")
    counts = counts_of(layers)
    spectra = {
        n: torch.rand(12, generator=torch.Generator().manual_seed(i)) for i, n in enumerate("abc")
    }
    chosen = ranks_for_budget(counts, 0.5, rank_allocation="energy", spectra=spectra)
    grid = [{"a": a, "b": b, "c": c} for a, b, c in np.ndindex(6, 6, 6) if a * b * c]
    fitting = [r for r in grid if cost(counts, r, "params", "replaced") <= 0.5 * counts.params]
    best = max(energy(counts, spectra, ranks) for ranks in fitting)
    assert energy(counts, spectra, chosen) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("of", PARTS)
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("rank", [1, 32, 383])
def test_the_share_that_a_rank_keeps_buys_that_rank_back(vit_b, unit, of, rank):
    sizes = plan(vit_b, rank)
    size = sizes.replaced if of == "replaced" else sizes.whole_model
    kept = getattr(size, f"{unit}_after") / getattr(size, f"{unit}_before")
    assert set(ranks_for_budget(vit_b, kept, budget_unit=unit, of=of).values()) == {rank}


def test_everything_is_bought_by_the_whole_budget_up_to_each_layers_largest_rank(vit_b):
    largest = {layer.name: layer.largest_rank for layer in vit_b.layers}
    spectra = {layer.name: torch.rand(768) for layer in vit_b.layers}
    assert ranks_for_budget(vit_b, 1) == largest
    assert ranks_for_budget(vit_b, 1.0, rank_allocation="energy", spectra=spectra) == largest


def test_energy_goes_where_it_is_cheap():
    layers = (LayerCount("often", 16, 16, False, 10, 4), LayerCount("once", 16, 16, False, 1, 4))
    spectra = {"often": torch.ones(16), "once": torch.ones(16)}
    by_macs = ranks_for_budget(
        counts_of(layers), 0.4, budget_unit="macs", rank_allocation="energy", spectra=spectra
    )
    assert by_macs == {"often": 2, "once": 7}
    by_params = ranks_for_budget(counts_of(layers), 0.5, rank_allocation="energy", spectra=spectra)
    assert by_params == {"often": 6, "once": 1}, "of equal offers, the first layer's come first"


def test_a_layer_without_any_energy_gets_what_is_left_over():
    layers = (LayerCount("zero", 16, 16, True, 1, 4), LayerCount("a", 16, 16, True, 1, 4))
    spectra = {"zero": torch.zeros(16), "a": torch.ones(16)}
    ranks = ranks_for_budget(counts_of(layers), 0.6, rank_allocation="energy", spectra=spectra)
    assert ranks == {"zero": 2, "a": 7}


@pytest.mark.parametrize("budget", [0, -0.1, 1.01, float("nan"), float("inf"), "10%", None, True])
def test_a_budget_that_is_no_fraction_is_refused(vit_b, budget):
    with pytest.raises(ValueError, match=r"budget is .*a number up to 1; the smallest possible"):
        ranks_for_budget(vit_b, budget)


@pytest.mark.parametrize("of", PARTS)
@pytest.mark.parametrize("unit", UNITS)
def test_the_smallest_possible_budget_is_named_and_works(vit_b, unit, of):
    with pytest.raises(ValueError, match="is below rank 1 in every layer") as error:
        ranks_for_budget(vit_b, 0.001, budget_unit=unit, of=of)
    named = float(str(error.value).rpartition(" ")[2])
    assert set(ranks_for_budget(vit_b, named, budget_unit=unit, of=of).values()) == {1}
    with pytest.raises(ValueError, match="below rank 1"):
        ranks_for_budget(vit_b, named - 2e-4, budget_unit=unit, of=of)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank_allocation": "energy"}, "singular values of blocks.0.attn.qkv.*weight_spectra"),
        (
            {"rank_allocation": "energy", "spectra": {"blocks.0.attn.qkv": torch.ones(3)}},
            "of blocks.0.attn.proj",
        ),
        ({"rank_allocation": "all"}, "rank_allocation is 'all': use one of uniform, energy"),
        ({"budget_unit": "bytes"}, "budget_unit is 'bytes': use one of params, macs"),
        ({"of": "half"}, "of is 'half': use one of replaced, whole"),
    ],
)
def test_options_that_do_not_fit_are_refused(vit_b, options, message):
    with pytest.raises(ValueError, match=message):
        ranks_for_budget(vit_b, 0.5, **options)


def test_layers_and_spectra_that_can_not_be_spent_on_are_refused():
    thin = counts_of((LayerCount("thin", 1, 8, True, 1, 4),))
    with pytest.raises(ValueError, match="thin .*no rank makes it smaller"):
        ranks_for_budget(thin, 0.5)
    counts = counts_of((LayerCount("a", 16, 16, True, 1, 4),))
    with pytest.raises(ValueError, match="spectra of a are not finite"):
        ranks_for_budget(
            counts, 0.5, rank_allocation="energy", spectra={"a": torch.full((16,), torch.nan)}
        )


def test_vit_b_takes_a_small_part_of_a_second(vit_b):
    spectra = {layer.name: torch.rand(768) for layer in vit_b.layers}
    began = time.process_time()
    ranks_for_budget(vit_b, 0.5, rank_allocation="energy", spectra=spectra)
    assert time.process_time() - began < 0.3


def test_spectra_are_the_singular_values(vit):
    spectra = weight_spectra(vit)
    layers = find_targets(vit)
    assert spectra.keys() == layers.keys()
    for name, layer in layers.items():
        expected = np.linalg.svd(layer.weight.detach().double().numpy(), compute_uv=False)
        np.testing.assert_allclose(spectra[name].numpy(), expected, rtol=1e-7, atol=1e-8)
    assert weight_spectra(vit, targets="fc1").keys() == {"blocks.0.mlp.fc1", "blocks.1.mlp.fc1"}


def test_spectra_with_inputs_say_what_the_activation_aware_start_loses():
    net = nn.Sequential(nn.Linear(16, 10))
    x = torch.randn(400, 16, generator=torch.Generator().manual_seed(0)) * torch.linspace(
        3, 0.1, 16
    )
    moments = measure_inputs(net, {"0": net[0]}, [x])
    values = weight_spectra(net, targets="0", moments=moments)["0"].numpy()
    covariance = moments["0"].covariance
    W = net[0].weight.detach().double()
    for rank in (1, 4, 9):
        A, B = activation_svd_factors(W, covariance, rank)
        gap = (W - B @ A).numpy()
        lost = np.trace(gap @ covariance.numpy() @ gap.T)
        # The damping of the start is in the spectrum and not in the loss.
        assert (values[rank:] ** 2).sum() == pytest.approx(lost, rel=2e-2)


def test_moments_that_lack_a_layer_are_refused(vit):
    moments = {"blocks.0.attn.qkv": InputMoments(32)}
    with pytest.raises(ValueError, match="moments lack blocks.0.attn.proj.*measure all targets"):
        weight_spectra(vit, moments=moments)


def test_chosen_ranks_are_what_a_plan_takes(vit):
    counts = count_model(vit)
    ranks = ranks_for_budget(counts, 0.4, rank_allocation="energy", spectra=weight_spectra(vit))
    sizes = plan(counts, ranks)
    assert sizes.replaced.params_after <= 0.4 * sizes.replaced.params_before
    assert len(set(ranks.values())) > 1


@pytest.mark.parametrize(
    "name", [name for name in METHODS if "budget" in options_of(METHODS[name].Config)]
)
def test_a_budget_is_a_share(name):
    for odd in (1.01, 2, 0, -1):
        with pytest.raises(ValueError, match="budget"):
            METHODS[name].Config(budget=odd)


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_what_counts_of_a_layer_is_its_share_of_energy_not_how_large_its_weights_are(size):
    layers = tuple(LayerCount(name, 16, 16, True, 1, 4) for name in "ab")
    spectra = {"a": torch.logspace(0, -1, 16), "b": torch.logspace(0, -3, 16)}
    counts = counts_of(layers)
    ranks = ranks_for_budget(counts, 0.6, rank_allocation="energy", spectra=spectra)
    scaled = {**spectra, "b": size * spectra["b"]}
    assert ranks_for_budget(counts, 0.6, rank_allocation="energy", spectra=scaled) == ranks
    assert ranks["a"] > ranks["b"] > 1
