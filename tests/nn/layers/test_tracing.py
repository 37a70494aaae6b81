"""Shapes without storage, also of models that look at values while they run."""

import pytest
import torch
from torch import nn

from pclora_lab.nn.counting import count_macs, count_model
from pclora_lab.nn.layers.tracing import trace, try_input
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


class Text(nn.Module):
    """Reads words by name; keeps a buffer and a result of its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.register_buffer("scale", torch.full((2,), 3.0))
        self.kept = 2 * self.table.weight

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> object:
        return self.table(input_ids)


BATCH = {"input_ids": torch.tensor([[1, 2]]), "attention_mask": torch.tensor([[1, 0]])}


@pytest.mark.parametrize("error", [RuntimeError, ValueError, TypeError, NotImplementedError])
def test_a_twin_that_has_no_values_is_followed_by_one_that_has(error):
    model, calls = Text(), []

    def run(twin: nn.Module, inputs: dict) -> str:
        calls.append((twin, inputs))
        if len(calls) == 1:
            raise error("it looked")
        return "done"

    assert trace(model, BATCH, run) == "done"
    (first, without), (second, with_values) = calls
    assert set(without) == {"input_ids"} and without["input_ids"].is_meta, "a full mask is the same"
    assert set(with_values) == set(BATCH)
    assert all(torch.equal(with_values[name], BATCH[name]) for name in BATCH)
    assert all(t.is_meta for t in (*first.parameters(), *first.buffers(), first.kept))
    assert torch.equal(second.scale, model.scale) and second.scale is not model.scale
    assert second.scale.data_ptr() != model.scale.data_ptr()
    assert torch.equal(second.kept, model.kept) and not second.kept.requires_grad
    assert second.kept.data_ptr() != model.kept.data_ptr()
    assert not any(p.requires_grad or p.any() for p in second.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_any_other_error_is_raised_at_once():
    calls = []

    def run(twin: nn.Module, inputs: torch.Tensor) -> None:
        calls.append(1)
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        trace(nn.Linear(2, 2), torch.zeros(1, 2), run)
    assert calls == [1]


@pytest.mark.parametrize("by_name", [True, False])
def test_what_has_no_values_itself_is_looked_at_as_zeros(by_name):
    with torch.device("meta"):
        model = Text()
        x = torch.ones(1, 2, dtype=torch.long)
    seen = []

    def looks(twin: nn.Module, inputs: object) -> None:
        seen.append(inputs["input_ids"] if by_name else inputs)
        if seen[-1].is_meta:
            raise ValueError("it looked")
        assert twin.scale.tolist() == [0, 0] and twin.kept.shape == (9, 4) and twin.kept.is_cpu

    trace(model, {"input_ids": x} if by_name else x, looks)
    assert len(seen) == 2 and seen[1].tolist() == [[0, 0]] and seen[1].dtype is torch.long


def test_values_are_made_on_the_cpu_and_attention_is_taken_apart_there():
    seen = []

    def run(twin: nn.Module, inputs: torch.Tensor) -> None:
        made = torch.empty(1)
        seen.append((made.device.type, torch.backends.cuda.flash_sdp_enabled()))
        if len(seen) == 1:
            raise ValueError("it looked")

    with torch.device("meta"):
        trace(nn.Linear(2, 2), torch.zeros(1, 2), run)
    assert seen == [("meta", True), ("cpu", False)] and torch.backends.cuda.flash_sdp_enabled()


class Sized(nn.Module):
    """Says what it takes; its answer and its mode are noted."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.linear, self.answer = nn.Linear(4, 2), answer
        self.pretrained_cfg = {"input_size": (1, 4, 4)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        NOTED.append((tuple(x.shape), x.device.type, self.training, torch.is_grad_enabled()))
        return self.answer(self.linear(x))


NOTED: list[tuple] = []


def test_a_model_is_tried_in_eval_mode_without_gradients_on_the_input_that_it_takes():
    NOTED.clear()
    model = Sized(lambda y: y).train()
    try_input(model)
    assert NOTED == [((1, 1, 4, 4), "meta", False, False)] and model.training
    NOTED.clear()
    try_input(Sized(lambda y: y.sum().item()))
    assert [where for _, where, *_ in NOTED] == ["meta", "cpu"]
    with pytest.raises(RuntimeError, match="shape '.7.' is invalid"):
        try_input(Sized(lambda y: y.reshape(7)))
