"""What a plan says of each part, before and after."""

from dataclasses import FrozenInstanceError, asdict, replace

import pytest
import torch
from torch import nn

from pclora_lab.nn.counting import LayerCount, ModelCounts, count_model
from pclora_lab.nn.sizes import dense_plan, plan

# 10 → 20 on 3 tokens with a bias, in 4 bytes; 8 → 8 on 1 token without, in 2 bytes.
LAYERS = (LayerCount("a", 10, 20, True, 3, 4), LayerCount("b", 8, 8, False, 1, 2, False))
COUNTS = ModelCounts(LAYERS, params=1000, macs=5000, bytes=3500)
RANKS = {"a": 2, "b": 1}
# By hand: weights and biases, products, and bytes of what is replaced.
BEFORE = {"params": 220 + 64, "macs": 3 * 200 + 64, "bytes": 4 * 220 + 2 * 64}
AFTER = {"params": 2 * 30 + 20 + 16, "macs": 3 * 2 * 30 + 16, "bytes": 4 * 80 + 2 * 16}
WHOLE = {"params": 1000, "macs": 5000, "bytes": 3500}


@pytest.mark.parametrize("what", ["params", "macs", "bytes"])
def test_every_part_is_counted_before_and_after(what):
    sizes = asdict(plan(COUNTS, RANKS))
    before, after, whole = BEFORE[what], AFTER[what], WHOLE[what]
    wanted = {
        "replaced": (before, after),
        "dense": (whole - before, whole - before),
        "whole_model": (whole, whole - before + after),
    }
    for part, numbers in wanted.items():
        assert (sizes[part][f"{what}_before"], sizes[part][f"{what}_after"]) == numbers
        if what != "bytes":
            share = 1 - numbers[1] / numbers[0]
            assert sizes[part][f"{what}_removed"] == pytest.approx(share)
    assert sizes["ranks"] == RANKS and sizes["break_even_rank"] == 4


def test_of_nothing_nothing_is_removed():
    only = ModelCounts(LAYERS[:1], params=220, macs=600, bytes=880)
    dense = plan(only, 2).dense
    assert set(asdict(dense).values()) == {0}
    silent = replace(LAYERS[0], tokens=0)
    assert plan(ModelCounts((silent,), 220, 0, 880), 2).replaced.macs_removed == 0.0


def test_a_method_that_leaves_the_size_removes_nothing_anywhere():
    sizes = dense_plan(COUNTS)
    for part, before in ((sizes.whole_model, WHOLE), (sizes.replaced, BEFORE)):
        for what, number in before.items():
            numbers = asdict(part)
            assert numbers[f"{what}_before"] == numbers[f"{what}_after"] == number
        assert part.params_removed == part.macs_removed == 0.0
    assert sizes.dense == plan(COUNTS, RANKS).dense
    assert sizes.ranks == {} and sizes.break_even_rank == 4


def test_a_plan_can_not_be_changed_and_is_ready_for_json():
    sizes = plan(COUNTS, RANKS)
    for part, name in ((sizes, "ranks"), (sizes.dense, "params_after"), (COUNTS, "macs")):
        with pytest.raises(FrozenInstanceError):
            setattr(part, name, 1)
    assert sizes.to_dict() == asdict(sizes)


def test_a_trace_and_its_model_give_the_same_plan_with_the_same_targets():
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    example = torch.zeros(1, 5, 8)
    for targets in ("^0$", "."):
        counts = count_model(net, targets=targets, example=example)
        assert plan(net, 2, targets=targets, example=example) == plan(counts, 2)
    assert plan(net, 2, targets="^2$", example=example).ranks == {"2": 2}
