"""Maps of attention: of transformers' models, against what these give themselves."""

import pytest
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
