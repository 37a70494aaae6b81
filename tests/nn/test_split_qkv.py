"""Fused query-key-value layers taken apart."""

import pytest
import torch
from timm.models.beit import Beit
from tiny import batch, tiny

from pclora_lab import load_model
from pclora_lab.models.loading import describe_model
from pclora_lab.nn.forward import call_model
from pclora_lab.nn.sizes import plan
from pclora_lab.nn.split_qkv import SplitLinear, split_qkv


@pytest.mark.parametrize(("kind", "task"), [("vit_digits", None), ("swin", None),
                                            ("gpt2", "language-model")])  # fmt: skip
def test_the_logits_stay_the_same(kind, task):
    model = tiny(kind, task)
    inputs = batch(model)
    before = call_model(model, inputs)
    params = sum(p.numel() for p in model.parameters())
    assert split_qkv(model) is model and model.pclora_recipe["split_qkv"] is True
    torch.testing.assert_close(call_model(model, inputs), before)
    assert sum(p.numel() for p in model.parameters()) == params


def test_the_whole_vit_b_is_counted_as_methods_tell():
    fused = plan(describe_model("vit_base_patch16_224", num_classes=10), 32)
    split = plan(describe_model("vit_base_patch16_224", num_classes=10, split_qkv=True), 32)
    assert round(100 * fused.whole_model.params_removed, 2) == 93.49
    assert round(100 * split.whole_model.params_removed, 2) == 92.80
    # A + B over all blocks: r·147,456 fused, r·165,888 separate.
    assert split.whole_model.params_after - fused.whole_model.params_after == 32 * (165888 - 147456)


def test_the_weights_are_the_pre_trained_ones():
    fused, split = load_model("vit_digits"), load_model("vit_digits", split_qkv=True)
    parts = split.blocks[0].attn.qkv
    whole = torch.cat([parts.q.weight, parts.k.weight, parts.v.weight])
    assert torch.equal(whole, fused.blocks[0].attn.qkv.weight)


def test_a_model_without_a_fused_layer_is_refused():
    with pytest.raises(ValueError, match="BertForSequenceClassification has no fused"):
        split_qkv(tiny("bert"))


def test_a_convolution_by_that_name_is_no_fused_layer():
    model = torch.nn.ModuleDict({"qkv": torch.nn.Conv2d(4, 12, 1)})
    with pytest.raises(ValueError, match="ModuleDict has no fused"):
        split_qkv(model)


def test_a_model_that_reads_the_weight_past_the_layer_is_refused_by_name():
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
    model = Beit(**sizes, num_classes=3)
    model.pretrained_cfg = {"input_size": (3, 16, 16)}
    with pytest.raises(ValueError, match="Beit never calls blocks.0.attn.qkv"):
        split_qkv(model)
    assert isinstance(model.blocks[0].attn.qkv, torch.nn.Linear)


@pytest.mark.parametrize("bias", [True, False])
def test_each_third_is_a_layer_of_its_own_on_its_own_numbers(bias):
    fused = torch.nn.Linear(5, 12, bias=bias)
    split = SplitLinear(fused.weight, fused.bias)
    for number, layer in enumerate((split.q, split.k, split.v)):
        rows = slice(4 * number, 4 * number + 4)
        assert (layer.in_features, layer.out_features) == (5, 4)
        assert torch.equal(layer.weight, fused.weight[rows]) and layer.weight.requires_grad
        assert layer.weight.untyped_storage().nbytes() == 4 * 20, "so that it can be saved alone"
        assert (layer.bias is None) is not bias
        if bias:
            assert torch.equal(layer.bias, fused.bias[rows]) and layer.bias.requires_grad
            assert layer.bias.untyped_storage().nbytes() == 4 * 4
    before = fused.weight.detach().clone()
    with torch.no_grad():
        split.v.weight.zero_()
    assert torch.equal(fused.weight, before)


def test_what_can_not_be_three_layers_stays_one():
    class Model(torch.nn.Module):
        def __init__(self, *widths: int) -> None:
            super().__init__()
            self.pretrained_cfg = {"input_size": (4,)}
            self.parts = torch.nn.ModuleList(
                torch.nn.ModuleDict({"qkv": torch.nn.Linear(4, width)}) for width in widths
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([part["qkv"](x) for part in self.parts], dim=-1)

    model = Model(6, 7)
    kept, x = model.parts[1]["qkv"], torch.randn(2, 4)
    before = model(x)
    assert split_qkv(model) is model and not hasattr(model, "pclora_recipe")
    assert isinstance(model.parts[0]["qkv"], SplitLinear) and model.parts[1]["qkv"] is kept
    torch.testing.assert_close(model(x), before)
    with pytest.raises(ValueError, match="Model has no fused query-key-value layer: leave split_q"):
        split_qkv(Model(7))
