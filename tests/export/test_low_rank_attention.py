"""Attention inside the rank computes what timm's attention computes."""

import pytest
import torch
from timm.layers import Attention
from tiny import batch, tiny
from torch import nn

from pclora_lab.export.low_rank_attention import LowRankAttention, to_low_rank_attention
from pclora_lab.methods.svd import SVD, SVDConfig
from pclora_lab.nn.counting import count_macs
from pclora_lab.nn.forward import call_model
from pclora_lab.nn.low_rank import LowRankLinear


def attention(rank: int = 3, proj_rank: int = 5, **options) -> Attention:
    torch.manual_seed(0)
    made = Attention(32, num_heads=2, **options)
    made.qkv = LowRankLinear(32, 96, rank, bias=made.qkv.bias is not None)
    made.proj = LowRankLinear(32, 32, proj_rank)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ranks", [(3, 5), (15, 1)])
def test_the_output_is_the_same(bias, ranks):
    made, x = attention(*ranks, qkv_bias=bias), torch.randn(4, 7, 32)
    with torch.no_grad():
        torch.testing.assert_close(LowRankAttention(made)(x), made(x), atol=1e-5, rtol=1e-4)


def test_a_model_needs_fewer_products_and_stays_as_it_was():
    small = SVD(SVDConfig(rank=4)).apply(tiny("deit"))
    inputs = batch(small)
    absorbed = to_low_rank_attention(small)
    with torch.no_grad():
        wanted = call_model(small, inputs)
        torch.testing.assert_close(call_model(absorbed, inputs), wanted, atol=1e-4, rtol=1e-4)
    assert count_macs(absorbed) < count_macs(small)
    assert not any(isinstance(m, LowRankAttention) for m in small.modules())


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 16},
        {"proj_rank": 16},
        {"qk_norm": True, "norm_layer": nn.LayerNorm},
        {"scale_norm": True, "norm_layer": nn.LayerNorm},
    ],
    ids=["rank", "proj_rank", "qk_norm", "scale_norm"],
)
def test_what_would_not_pay_or_not_be_the_same_is_left(change):
    model = nn.Sequential(attention(**change))
    assert to_low_rank_attention(model) is model


@pytest.mark.parametrize("kind", ["vit_digits", "swin", "bert"])
def test_dense_and_other_attention_is_left(kind):
    model = tiny(kind)
    assert to_low_rank_attention(model) is model


def test_masks_are_refused():
    with pytest.raises(ValueError, match="knows no mask"):
        LowRankAttention(attention())(torch.zeros(1, 7, 32), is_causal=True)


def test_a_mask_alone_is_refused_too():
    with pytest.raises(ValueError, match="knows no mask"):
        LowRankAttention(attention())(torch.zeros(1, 7, 32), attn_mask=torch.zeros(7, 7))


@pytest.mark.parametrize("name", ["qkv", "proj"])
def test_both_layers_have_to_be_low_rank(name):
    made = attention()
    setattr(made, name, nn.Linear(32, 96 if name == "qkv" else 32))
    with pytest.raises(ValueError, match="^Linear is no LowRankLinear: compress the attention"):
        LowRankAttention(made)
    model = nn.Sequential(made)
    assert to_low_rank_attention(model) is model


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_computes_in_the_precision_of_the_layers(dtype):
    made, x = attention().to(dtype), torch.randn(2, 5, 32, dtype=dtype)
    made.proj.up.bias = None
    with torch.no_grad():
        found = LowRankAttention(made)(x)
        assert found.dtype is dtype
        torch.testing.assert_close(found, made(x))
