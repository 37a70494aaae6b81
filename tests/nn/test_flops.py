"""Operations with the element-wise work, and the published figures they lead to."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pclora_lab.models.loading import describe_model
from pclora_lab.nn.flops import _operations, count_flops
from pclora_lab.nn.low_rank import LowRankLinear
from pclora_lab.nn.surgery import find_targets, replace_modules


class Attention(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x)


@pytest.mark.parametrize(
    ("module", "shape", "products", "elementwise"),
    [
        (nn.Linear(8, 4), (3, 8), 2 * 3 * 8 * 4, 3 * 4),
        (nn.Linear(8, 4, bias=False), (3, 8), 2 * 3 * 8 * 4, 0),
        (nn.GELU(), (3, 8), 0, 24),
        (nn.LayerNorm(8), (3, 8), 0, 7 * 24),
        (nn.Softmax(-1), (3, 8), 0, 3 * 24),
        (nn.Conv2d(3, 5, 2, stride=2), (1, 3, 8, 8), 2 * 16 * 5 * 12, 16 * 5),
    ],
)
def test_by_hand(module, shape, products, elementwise):
    found = count_flops(module if list(module.parameters()) else nn.Sequential(module, nn.Linear(
        shape[-1], 1, bias=False)), torch.zeros(shape))  # fmt: skip
    extra = 0 if list(module.parameters()) else 2 * shape[0] * shape[-1]
    assert (found.products - extra, found.elementwise) == (products, elementwise)


def compressed(model: nn.Module, rank: int) -> nn.Module:
    layers = {
        name: LowRankLinear(m.in_features, m.out_features, rank, device="meta")
        for name, m in find_targets(model).items()
    }
    return replace_modules(model, layers)


@pytest.mark.parametrize(
    ("name", "options", "published"),
    [
        ("vit_base_patch16_224", {"split_qkv": True, "num_classes": 10}, 89.1),
        ("bert-base-uncased", {"max_tokens": 512}, 84.2),
    ],
)
def test_the_published_reductions_within_a_tenth_of_a_point(name, options, published):
    dense = count_flops(describe_model(name, **options)).total
    small = count_flops(compressed(describe_model(name, **options), 32)).total
    assert 100 * (1 - small / dense) == pytest.approx(published, abs=0.1)


def test_attention_counts_its_softmax_and_its_scaling():
    model = nn.Sequential(nn.Linear(8, 8, bias=False), Attention())
    found = count_flops(model, torch.zeros(1, 2, 5, 8))
    # 2 heads · 5 queries · 5 keys; torch scales query and key before the product.
    assert found.elementwise == 3 * 50 + 2 * 80


def test_attention_between_two_sequences_has_a_weight_for_every_pair():
    # As a version of torch counts it that keeps the operation whole on the meta device.
    query, key = torch.zeros(1, 2, 5, 8), torch.zeros(1, 2, 7, 8)
    found = _operations("_scaled_dot_product_flash_attention", (query, key, key), query)
    assert found == (3 + 1) * 2 * 5 * 7
