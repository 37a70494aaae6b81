"""Operations with the element-wise work, and the published figures they lead to."""

from dataclasses import FrozenInstanceError

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


def count(module: nn.Module, *shape: int) -> int:
    return count_flops(module, torch.zeros(shape)).elementwise


@pytest.mark.parametrize(
    "make",
    [
        torch.tanh, torch.sigmoid, F.relu, F.silu, F.gelu, lambda x: x + x, lambda x: x - x,
        lambda x: 2 * x, lambda x: x / 3, lambda x: x.mul_(2), lambda x: x.add_(1),
    ],
)  # fmt: skip
def test_what_is_done_once_to_each_element_counts_once(make):
    assert count(Does(make), 3, 8) == 3 * 8


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.reshape(-1), torch.clone, lambda x: torch.cat((x, x)),
        lambda x: (x.long() + 1).float(), lambda x: torch.topk(x, 2, dim=-1),
    ],
    ids="shape copy together whole_numbers several".split(),
)  # fmt: skip
def test_what_moves_values_or_counts_in_whole_numbers_is_free(make):
    assert count(Does(make), 3, 8) == 0


class Does(nn.Module):
    """Does something to its input; has a parameter, as models do."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make, self.unused = make, nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.make(x)
        return made if isinstance(made, torch.Tensor) else made[0]


def test_a_norm_is_counted_by_its_first_result_and_a_convolution_by_its_bias():
    assert count(nn.LayerNorm(8), 2, 3, 8) == 7 * 48
    assert count(nn.Conv2d(2, 3, 2, bias=False), 1, 2, 4, 4) == 0
    assert count(nn.Conv2d(2, 3, 2), 1, 2, 4, 4) == 3 * 9


def test_the_model_is_counted_in_eval_mode_and_only_read():
    model = nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5), nn.ReLU()).train()
    found = count_flops(model, torch.zeros(1, 8))
    assert (found.products, found.elementwise, found.total) == (64, 8, 72)
    assert all(m.training for m in model.modules()) and not model[0].weight.is_meta
    assert count_flops(nn.DataParallel(model), torch.zeros(1, 8)) == found
    with pytest.raises(FrozenInstanceError):
        found.products = 0
