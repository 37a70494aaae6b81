"""A linear layer per patch, and bilinear upsampling, in place of a classifier."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pclora_lab.models.timm_models import timm_recipe
from pclora_lab.nn.counting import count_macs
from pclora_lab.nn.metadata import set_metadata
from pclora_lab.nn.patch_head import PatchHead, attach_patch_head, has_patch_head

SIZES = {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 3}


def build(name="vit_tiny_patch16_224", **options):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3, **{**SIZES, **options}).eval()
    set_metadata(model, pclora_recipe=timm_recipe(model, None, None))
    return model


def test_each_patch_is_answered_where_it_lies():
    head = PatchHead(2, 3, grid=(2, 3), size=(8, 12))
    nn.init.zeros_(head.linear.weight), nn.init.zeros_(head.linear.bias)
    head.linear.weight.data[1, 0] = 1.0
    tokens = torch.zeros(1, 1 + 6, 2)
    tokens[0, 0] = 99.0  # a class token is no patch
    tokens[0, 1 + 1 * 3 + 2, 0] = 5.0  # second row, third column
    logits = head(tokens).detach()
    assert logits.shape == (1, 3, 8, 12) and not logits[:, [0, 2]].any()
    assert logits[0, 1, 7, 11] == 5.0 and not logits[0, 1, :2].any()


def test_with_a_detail_each_part_of_a_patch_is_answered_where_it_lies():
    head = PatchHead(2, 3, grid=(2, 3), size=(4, 6), detail=2)
    nn.init.zeros_(head.linear.weight), nn.init.zeros_(head.linear.bias)
    head.linear.bias.data[1 * 4 + 2] = 1.0  # class 1, bottom left of four parts
    logits = head(torch.zeros(1, 7, 2)).detach()
    expected = torch.zeros(1, 3, 4, 6)
    expected[:, 1, 1::2, ::2] = 1.0
    assert torch.equal(logits, expected)
    assert head.sizes()["num_classes"] == 3 and PatchHead(**head.sizes()).detail == 2


def test_a_new_head_is_as_fine_as_the_one_before():
    model = attach_patch_head(build(patch_size=8), 5, detail=4)
    assert model.pclora_recipe["head_detail"] == 4
    attach_patch_head(model, 2)
    assert model.head.detail == 4 and model(torch.zeros(1, 3, 32, 32)).shape == (1, 2, 32, 32)
    assert "head_detail" not in attach_patch_head(build(), 5).pclora_recipe


@pytest.mark.parametrize(
    "options",
    [{}, {"patch_size": 8}, {"reg_tokens": 4}, {"class_token": False, "global_pool": "avg"}],
)
def test_all_tokens_of_a_vision_transformer_reach_it(options):
    model = build(**options)
    images = torch.randn(2, 3, 32, 32)
    tokens = model.fc_norm(model.forward_features(images))[:, model.num_prefix_tokens :]
    attach_patch_head(model, 5, torch.Generator().manual_seed(0))
    side = 32 // options.get("patch_size", 16)
    coarse = model.head.linear(tokens).transpose(1, 2).reshape(2, 5, side, side)
    expected = F.interpolate(coarse, size=(32, 32), mode="bilinear")
    torch.testing.assert_close(model(images), expected)
    assert has_patch_head(model) and model.num_classes == 5


def test_one_seed_is_one_head():
    first, second, other = (
        attach_patch_head(build(), 5, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first.head.linear.weight, second.head.linear.weight)
    assert not torch.equal(first.head.linear.weight, other.head.linear.weight)


@pytest.mark.parametrize(
    "name, options",
    [
        ("deit_tiny_distilled_patch16_224", SIZES),
        ("test_convnext", {}),
        ("swin_tiny_patch4_window7_224", {}),
    ],
)
def test_refused_where_there_is_no_grid_or_no_single_layer(name, options):
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=3, **options)
    set_metadata(model, pclora_recipe=timm_recipe(model, None, None))
    with pytest.raises(ValueError, match="take a plain vision transformer"):
        attach_patch_head(model, 5)


@pytest.mark.parametrize("detail", [1, 2])
def test_it_is_counted_as_torch_counts_it(detail):
    model = attach_patch_head(build(), 5, detail=detail).to("meta")
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 32, 32, device="meta"))
    assert 2 * count_macs(model) == counter.get_total_flops()
