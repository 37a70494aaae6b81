"""Shapes without storage, also of models that look at values while they run."""

import pytest
import torch
from torch import nn

from pclora_lab.nn.counting import count_macs, count_model
from pclora_lab.nn.layers.tracing import trace
from pclora_lab.nn.surgery import deepcopy_sharing, find_targets, meta_copy


class Looks(nn.Module):
    """Reads a value, as models do that search their input for padding or for an end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        return self.second(hidden) if x.sum().item() == 0 else hidden


def test_a_model_that_looks_at_values_is_counted():
    model, example = Looks(), torch.zeros(1, 3, 8)
    assert count_macs(model, example) == 3 * 2 * 8 * 16
    counts = count_model(model, targets=".", example=example)
    assert [layer.tokens for layer in counts.layers] == [3, 3]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_its_twin_takes_no_memory_and_no_value_of_the_model(device):
    with torch.device(device):
        model = Looks()
    seen = []

    def run(twin: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        seen.append(twin)
        return twin(inputs)

    result = trace(model, torch.zeros(1, 3, 8), run)
    assert result.shape == (1, 3, 8) and len(seen) == 2
    for twin in seen:
        for parameter in twin.parameters():
            assert parameter.is_meta or parameter.untyped_storage().nbytes() == 4
    assert model.first.weight.device.type == device


def test_an_error_of_the_model_itself_is_the_one_that_is_raised():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trace(Looks(), torch.zeros(1, 3, 7), lambda twin, inputs: twin(inputs))


class Keeps(nn.Module):
    """Keeps a result in eval mode, as LeViT does with its biases."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(4))
        self.linear = nn.Linear(4, 4)
        self.cache: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.cache.setdefault("bias", 2 * self.bias)
        return self.linear(x) + kept


def test_a_model_that_keeps_results_can_be_copied():
    model = Keeps()
    x = torch.randn(2, 4)
    before = model(x)
    assert model.cache["bias"].grad_fn is not None
    assert torch.equal(deepcopy_sharing(model, ())(x), before)
    assert meta_copy(model)(x.to("meta")).shape == before.shape


def test_layers_with_a_number_per_head_or_coordinate_stay_dense():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)
            self.bias = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, 4))

    model = nn.Sequential(Block(), Block())
    assert list(find_targets(model)) == ["0.qkv", "0.out", "1.qkv", "1.out"]
    assert len(find_targets(model, targets="bias")) == 4, "unless they are asked for"
