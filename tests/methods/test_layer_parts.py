"""What a method says its layers are made of is what they are made of."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.layer_parts import LayerParts
from pclora_lab.methods.lora import LoRAConfig
from pclora_lab.methods.pela.config import PELAConfig
from pclora_lab.methods.registry import METHODS, make_method
from pclora_lab.methods.snella.layers import KernelSparseLinear
from pclora_lab.methods.svd import SVDKDConfig
from pclora_lab.models.loading import load_model

NAMES = ("pclora", "pela", "snella", "lora", "svd_kd", "svd", "activation_svd", "full", "small")
LAYER = "blocks.2.mlp.fc1"  # 96 → 384, so that no two of its shapes are alike


@pytest.fixture(scope="module")
def model():
    return load_model("vit_digits").eval()


def tensors_of(student, name):
    """All tensors of the layer, its frozen weights too."""
    layer = next(m for n, m in student.named_modules() if n.endswith(name))
    found = [t for module in layer.modules() for t in vars(module).values()]
    held = [t for module in layer.modules() for t in (*module._parameters.values(),)]
    held += [t for module in layer.modules() for t in (*module._buffers.values(),)]
    return [tuple(t.shape) for t in (*found, *held) if isinstance(t, torch.Tensor)]


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_are_those_of_a_real_student(name, model):
    method = METHODS[name](METHODS[name].default_config())
    example = torch.zeros(4, 1, 8, 8)
    context = MethodContext(calibration=[example], generator=torch.Generator(), example=example[:1])
    parts, counts = method.layer_parts, method.count(model)
    student = method.apply(model, context)
    if not parts.replaces:
        layer = next(m for n, m in student.named_modules() if n == LAYER)
        assert type(layer) is torch.nn.Linear
        return
    shapes = tensors_of(student, LAYER)
    assert ((384, 96) in shapes) == parts.base
    rank = method.layer_ranks(counts, model).get(LAYER)
    assert (rank is not None) == parts.factors
    assert ((rank, 96) in shapes and (384, rank) in shapes) == parts.factors


def test_ranks_that_the_weights_decide_are_not_known_before(model):
    for config in (
        SVDKDConfig(budget=0.2, rank_allocation="energy"),
        PELAConfig(budget=0.2, rank_allocation="energy"),
    ):
        method = make_method(config)
        assert method.layer_ranks(method.count(model), model) == {}


def test_a_budget_pays_for_the_rank_that_lora_takes(model):
    method = make_method(LoRAConfig(budget=0.1))
    counts = method.count(model)
    ranks = method.layer_ranks(counts, model)
    assert set(ranks) == {layer.name for layer in counts.layers}
    cost = sum(ranks[c.name] * (c.in_features + c.out_features) for c in counts.layers)
    each = sum(c.in_features + c.out_features for c in counts.layers)
    room = 0.1 * sum(c.params for c in counts.layers)
    assert cost <= room < cost + each


def test_a_method_that_says_nothing_replaces_nothing_that_is_known():
    assert not LayerParts().replaces and LayerParts(base=True).replaces
    assert LayerParts(factors=True).replaces and not LayerParts(offset=True).replaces


@pytest.mark.parametrize("name", NAMES)
def test_an_offset_stands_where_the_dense_layer_has_no_bias_and_few_changes_beside_it(name):
    method = METHODS[name]
    if not method.layer_parts.replaces:
        return
    net = nn.Sequential(nn.Linear(8, 24, bias=False), nn.ReLU(), nn.Linear(24, 3))
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    config = replace(method.default_config(), targets="^0$", rank=2)
    student = method(config).apply(net, MethodContext(calibration=[x], example=x[:1]))
    layer = next(m for n, m in student.named_modules() if n.rpartition(".")[2] == "0")
    has_offset = any(p.shape == (24,) for p in layer.parameters())
    assert has_offset == method.layer_parts.offset
    assert isinstance(layer, KernelSparseLinear) == method.layer_parts.changes
