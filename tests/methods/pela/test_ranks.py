"""Which layers PELA factorizes and at which rank: formula, what stays dense, what is refused."""

import pytest
import torch
from small_net import SmallNet
from torch import nn

from pclora_lab.methods.pela.model import factorize_model
from pclora_lab.methods.pela.ranks import (
    excluded_parts,
    exclusions,
    pela_layers,
    pela_rank,
    pela_ranks,
)

FC1 = ["blocks.0.fc1", "blocks.1.fc1"]


@pytest.mark.parametrize("ratio", [1.01, 1.5, 2, 3.7])
@pytest.mark.parametrize("widths", [(64, 64), (64, 192), (192, 64), (50, 7)], ids=str)
def test_no_larger_rank_would_save_as_much(widths, ratio):
    rank = pela_rank(*widths, ratio)
    dense = widths[0] * widths[1]
    assert rank * ratio * sum(widths) <= dense < (rank + 1) * ratio * sum(widths)


def test_a_ratio_may_leave_one_rank_and_not_none():
    assert pela_rank(8, 8, 4) == 1
    with pytest.raises(ValueError, match=r"ratio 4.1 leaves no rank for the layer \(8→8\): use a"):
        pela_rank(8, 8, 4.1)


class SwinTransformer(SmallNet):
    """Called like the one whose projections the paper leaves dense."""


class SwinForImageClassification(SmallNet):
    """The same of transformers."""


def test_norms_heads_and_patches_stay_dense_and_swins_projections():
    always = ("norm", "head", "patch_embed", "downsample")
    assert exclusions(SmallNet()) == always
    assert exclusions(SwinTransformer()) == (*always, "attn.proj")
    assert exclusions(SwinForImageClassification()) == (*always, "attention.o_proj")
    assert excluded_parts(SmallNet(), None) == always
    assert excluded_parts(SmallNet(), ["a", "b"]) == ("a", "b")
    assert excluded_parts(SmallNet(), ()) == ()


def test_layers_with_as_few_outputs_as_min_out_are_taken():
    net = SmallNet()  # 12 outputs and 8
    assert list(pela_layers(net)) == FC1
    assert list(pela_layers(net, min_out=12)) == FC1
    assert list(pela_layers(net, min_out=8))[1::2] == ["blocks.0.fc2", "blocks.1.fc2"]
    with pytest.raises(ValueError, match="min_out=13 leave no layer to factorize"):
        pela_layers(net, min_out=13)
    assert all(layer is net.get_submodule(name) for name, layer in pela_layers(net).items())


def test_a_part_of_a_name_is_enough_to_leave_a_layer_out():
    assert list(pela_layers(SmallNet(), exclude=("1.fc",))) == FC1[:1]
    assert list(pela_layers(SmallNet(), targets="head|fc1")) == FC1
    assert list(pela_layers(SmallNet(), targets="head", exclude=(), min_out=3)) == ["head"]


def test_ranks_come_from_the_ratio_unless_they_are_given():
    net = SmallNet()
    assert pela_ranks(net) == dict.fromkeys(FC1, 2)
    assert pela_ranks(net, 1.5) == dict.fromkeys(FC1, 3)
    assert pela_ranks(net, 99, rank=4) == dict.fromkeys(FC1, 4), "the ratio plays no part then"
    assert pela_ranks(net, ranks={FC1[0]: 1, FC1[1]: 2}) == {FC1[0]: 1, FC1[1]: 2}
    assert pela_ranks(net, rank=3, exclude=("0.fc1",)) == {FC1[1]: 3}
    assert pela_ranks(net, rank=2, targets="s.1", min_out=8) == {FC1[1]: 2, "blocks.1.fc2": 2}


@pytest.mark.parametrize("bias", [True, False])
def test_whether_a_layer_shrinks_does_not_depend_on_its_bias(bias):
    net = nn.Sequential(nn.Linear(12, 10, bias=bias))
    assert pela_ranks(net, rank=5, targets="0") == {"0": 5}  # 5·22 < 120 ≤ 6·22
    with pytest.raises(ValueError, match="rank 6 is not below the break-even rank"):
        pela_ranks(net, rank=6, targets="0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "ranks": {FC1[0]: 2}}, "rank and ranks are both given: pass one of them"),
        ({"ranks": {"head": 2}}, "ranks names head, which stay dense here: leave them out"),
        ({"ranks": {FC1[0]: 2}}, "no rank is given for blocks.1.fc1"),
        ({"exclude": "fc1"}, r"exclude is the string 'fc1': pass a tuple, \('fc1',\)"),
        ({"exclude": ("fc1",)}, r"exclude=\('fc1',\) and min_out=10 leave no layer"),
        ({"ratio": 20}, r"ratio 20 leaves no rank for blocks.0.fc1 \(8→12\), blocks.1.fc1 "),
        ({"ratio": 1}, "ratio is 1: it must be a number above 1"),
    ],
)
def test_what_can_not_be_is_refused_with_a_cure(options, message):
    with pytest.raises(ValueError, match=message):
        pela_ranks(SmallNet(), **options)


def test_attention_of_torch_must_be_left_out_by_name():
    net = SmallNet()
    for block in net.blocks:
        block.attention = nn.MultiheadAttention(8, 2)
    message = r"^blocks.0.attention, blocks.1.attention: .*exclusions\(model\), 'attention'\)$"
    with pytest.raises(ValueError, match=message):
        pela_layers(net)
    assert list(pela_layers(net, exclude=(*exclusions(net), "attention"))) == FC1
    assert list(pela_layers(net, targets="fc1")) == FC1


def test_unless_told_otherwise_ten_outputs_are_enough_and_nine_are_not():
    net = nn.Sequential(nn.Linear(40, 10), nn.Linear(10, 9), nn.Linear(9, 40))
    kept = {"0", "2"}
    assert set(pela_layers(net, targets="")) == kept == set(pela_ranks(net, targets=""))
    small = factorize_model(net, targets="", rank=2, example=torch.zeros(1, 40))
    assert set(small.pela["ranks"]) == kept
