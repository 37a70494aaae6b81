"""Maps of attention: of transformers' models, against what these give themselves."""

import pytest
import timm
import torch
from tiny_hf import config, image_side
from transformers import AutoModelForImageClassification

from pclora_lab.nn.attention import attention_maps


@pytest.mark.parametrize(("kind", "prefix"), [("vit", 1), ("deit", 2)])
def test_the_map_is_how_the_class_token_looks_at_the_patches(kind, prefix):
    torch.manual_seed(0)
    made = config(kind, attention_probs_dropout_prob=0.5)
    model = AutoModelForImageClassification.from_config(made, attn_implementation="eager").eval()
    images = torch.randn(2, made.num_channels, image_side(made), image_side(made))
    with torch.no_grad():
        weights = model(pixel_values=images, output_attentions=True).attentions[-1]
    looked = weights.mean(1)[:, 0, prefix:]
    expected = looked / looked.sum(-1, keepdim=True)
    side = made.image_size // made.patch_size

    model.set_attn_implementation("sdpa")
    found = attention_maps(model.train(), images)
    assert found.shape == (2, side, side) and model.training
    torch.testing.assert_close(found.flatten(1), expected)
    assert model.config._attn_implementation == "sdpa"


def test_without_a_class_token_it_is_how_all_patches_look_at_one():
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=48, class_token=False, global_pool="avg", depth=2,
        no_embed_class=True,
    ).eval()  # fmt: skip
    images, seen = torch.randn(2, 3, 48, 48), {}
    block = model.blocks[-1].attn
    block.fused_attn = False
    block.attn_drop.register_forward_hook(lambda m, args, y: seen.update(weights=y))
    with torch.no_grad():
        model(images)
    looked = seen["weights"].mean((1, 2))  # over heads, and over who looks
    expected = looked / looked.sum(-1, keepdim=True)
    torch.testing.assert_close(attention_maps(model, images).flatten(1), expected)
