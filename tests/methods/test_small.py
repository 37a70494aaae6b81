"""A narrower model of the same kind: as wide as the budget allows, drawn from its own seed."""

from dataclasses import replace

import pytest
import torch
from tiny import tiny_vit
from torch import nn

from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.small import (
    SmallFromScratch,
    SmallFromScratchConfig,
    narrower,
    width_for_budget,
)
from pclora_lab.models.loading import load_model
from pclora_lab.nn.counting import count_macs, count_model
from pclora_lab.nn.surgery import find_targets

HEADS, WIDTH = 3, 24


def loaded() -> nn.Module:
    return load_model(tiny_vit.__name__, num_classes=5, img_size=8, pretrained=False)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return loaded()


def of_layers(model: nn.Module, targets: str = "blocks") -> int:
    layers = find_targets(model, targets).values()
    return sum(p.numel() for layer in layers for p in layer.parameters())


def method(**options) -> SmallFromScratch:
    return SmallFromScratch(SmallFromScratchConfig(**options))


def context(seed: int) -> MethodContext:
    return MethodContext(generator=torch.Generator().manual_seed(seed))


def test_a_narrower_one_has_the_same_heads_and_depth_and_no_storage(model):
    small = narrower(model, 12)
    assert all(p.is_meta for p in small.parameters())
    assert small.num_features == 12 and len(small.blocks) == len(model.blocks)
    assert small.blocks[0].attn.num_heads == HEADS
    assert small.num_classes == model.num_classes
    assert model.num_features == WIDTH and not any(p.is_meta for p in model.parameters())


@pytest.mark.parametrize(("budget", "targets"), [(0.3, "blocks"), (0.5, "head"), (1.0, "fc1")])
def test_no_wider_one_would_fit(model, budget, targets):
    width = width_for_budget(model, budget, targets)
    heads = HEADS
    room = budget * of_layers(model, targets)
    assert width % heads == 0 and of_layers(narrower(model, width), targets) <= room
    assert width == WIDTH or of_layers(narrower(model, width + heads), targets) > room


def test_a_budget_that_is_met_exactly_is_not_exceeded(model):
    share = of_layers(narrower(model, 21)) / of_layers(model)
    assert width_for_budget(model, share) == 21


def test_the_smallest_budget_that_is_named_works(model):
    with pytest.raises(ValueError, match="budget 0.001 is too small: one channel per head") as bad:
        width_for_budget(model, 0.001)
    named = float(next(word for word in str(bad.value).split() if word.startswith("0.")
                       and word != "0.001"))  # fmt: skip
    assert width_for_budget(model, named) == HEADS
    with pytest.raises(ValueError, match="too small"):
        width_for_budget(model, named - 1e-4)


def test_models_that_can_not_be_built_again_are_refused():
    net = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ValueError, match="Sequential was not loaded by name.*load_model"):
        narrower(net, 4)
    with pytest.raises(ValueError, match="Sequential has no attention heads"):
        width_for_budget(net, 0.5)
    net.num_features = 4
    with pytest.raises(ValueError, match="no attention heads"):
        width_for_budget(net, 0.5)


def test_a_width_overrides_the_budget(model):
    assert method(width=15, budget=0.3).apply(model).num_features == 15
    assert method(budget=0.3).apply(model).num_features == 12
    assert method(budget=0.3, targets="head").apply(model).num_features == 6  # of 24


@pytest.mark.parametrize(
    ("options", "field"),
    [({"budget": None}, "budget"), ({"budget": 0}, "budget"), ({"budget": 1.1}, "budget"),
     ({"width": 0}, "width"), ({"width": 2**16 + 1}, "width"), ({"width": 2.5}, "width")],
)  # fmt: skip
def test_options_out_of_range_are_refused(options, field):
    with pytest.raises(ValueError, match=field):
        SmallFromScratchConfig(**options)
    assert SmallFromScratchConfig(width=1, budget=1).width == 1
    assert SmallFromScratchConfig(width=2**16).width == 2**16


def test_it_is_drawn_from_the_seed_and_everything_trains(model):
    torch.manual_seed(3)
    global_state = torch.get_rng_state()
    one, again, other = (method(width=6).apply(model, context(s)) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), global_state)
    names = dict(one.named_parameters())
    assert all(torch.equal(p, again.get_parameter(n)) for n, p in names.items())
    assert not torch.equal(one.blocks[0].mlp.fc1.weight, other.blocks[0].mlp.fc1.weight)
    assert all(p.requires_grad for p in names.values())
    plain = method(width=6).apply(model)
    seeded = method(width=6).apply(model, context(0))
    assert torch.equal(plain.blocks[0].mlp.fc1.weight, seeded.blocks[0].mlp.fc1.weight)


def test_a_frozen_or_wrapped_model_gives_one_that_trains_on_its_device(model):
    frozen = loaded().requires_grad_(False)
    small = method(width=6).apply(nn.DataParallel(frozen))
    assert all(p.requires_grad for p in small.parameters())
    assert {p.device for p in small.parameters()} == {p.device for p in frozen.parameters()}
    assert not any(p.requires_grad for p in frozen.parameters())


def test_the_finished_model_is_a_copy_in_eval_mode(model):
    student = method(width=6).apply(model).train()
    small = method(width=6).finalize(nn.DataParallel(student))
    assert type(small) is type(student)
    assert not any(m.training for m in small.modules()) and student.training
    ours = {p.data_ptr() for p in student.parameters()}
    assert not ours & {p.data_ptr() for p in small.parameters()}
    assert all(torch.equal(p, small.get_parameter(n)) for n, p in student.named_parameters())


@pytest.mark.parametrize("targets", ["blocks", "fc1"])
def test_the_plan_counts_what_is_there_before_and_after(model, targets):
    own = method(width=12, targets=targets)
    counts = own.count(model)
    plan, small = own.plan(counts, model), own.apply(model)
    sizes = plan.whole_model, plan.replaced, plan.dense
    for when, net in (("before", model), ("after", small)):
        example = torch.zeros(1, 3, 8, 8)
        whole = sum(p.numel() for p in net.parameters()), count_macs(net, example)
        layers = count_model(net, targets=targets).layers
        part = of_layers(net, targets), sum(layer.macs for layer in layers)
        rest = whole[0] - part[0], whole[1] - part[1]
        for size, (params, macs) in zip(sizes, (whole, part, rest), strict=True):
            assert getattr(size, f"params_{when}") == params
            assert getattr(size, f"macs_{when}") == macs
            assert getattr(size, f"bytes_{when}") == 4 * params
    for size in sizes:
        assert size.params_removed == pytest.approx(1 - size.params_after / size.params_before)
        assert size.macs_removed == pytest.approx(1 - size.macs_after / size.macs_before)
    assert plan.ranks == {} and plan.break_even_rank == counts.break_even_rank


def test_half_precision_takes_half_the_bytes():
    half = loaded().to(torch.bfloat16)
    plan = method(width=6).plan(method().count(half), half)
    assert plan.whole_model.bytes_before == 2 * plan.whole_model.params_before
    assert plan.replaced.bytes_before == 2 * plan.replaced.params_before


def test_what_a_plan_is_asked_for_is_found_in_few_tries(model, monkeypatch):
    tried = []

    def counted(model, width):
        tried.append(width)
        return narrower(model, width)

    monkeypatch.setattr("pclora_lab.methods.small.narrower", counted)
    width_for_budget(model, 0.5)
    assert len(tried) <= 1 + (WIDTH // HEADS).bit_length()


def test_a_model_that_knows_its_heads_or_its_width_alone_has_no_narrower_one():
    net = nn.Sequential(nn.Linear(4, 4))
    net[0].num_heads = 2
    with pytest.raises(ValueError, match="only vision transformers can be built narrower"):
        width_for_budget(net, 0.5)
    net.num_features, net[0].num_heads = 4, "two"
    with pytest.raises(ValueError, match="no attention heads"):
        width_for_budget(net, 0.5)


def test_layers_that_compute_nothing_have_nothing_to_remove(model):
    own = method(width=6)
    counts = own.count(model)
    idle = replace(counts, macs=0, layers=tuple(replace(c, tokens=0) for c in counts.layers))
    plan = own.plan(idle, model)
    assert plan.whole_model.macs_removed == 0 == plan.replaced.macs_removed


def test_nothing_of_the_models_weights_is_used(model):
    own = method(width=WIDTH)
    other = loaded()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    one, two = (own.apply(net, context(4)) for net in (model, other))
    assert all(torch.equal(p, two.get_parameter(n)) for n, p in one.named_parameters())
    assert own.starts_from == "nothing"
