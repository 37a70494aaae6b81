"""NaN and infinity are found in weights, buffers, batches and layers, and named."""

import pytest
import torch
from torch import nn

from pclora_lab.nn.layers.finite import (
    NotFinite,
    check_weights_finite,
    first_not_finite,
    where_not_finite,
)

ODD = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_one_odd_value_is_found_by_its_name(odd, dtype):
    tensors = {name: torch.ones(3, 4, dtype=dtype) for name in "abc"}
    assert first_not_finite(tensors) is None
    tensors["b"][2, 1] = odd
    assert first_not_finite(tensors) == "b"


def test_large_values_whose_sum_overflows_are_finite():
    assert (
        first_not_finite({"a": torch.full((9,), 3e38), "b": torch.tensor([60000.0]).half()}) is None
    )
    cancelling = torch.tensor([float("inf"), float("-inf")])
    assert first_not_finite({"a": torch.full((9,), 3e38), "b": cancelling}) == "b"


def test_whole_numbers_empty_tensors_and_those_without_values_pass():
    tensors = {"a": torch.ones(2, dtype=torch.long), "b": torch.empty(0)}
    assert first_not_finite({**tensors, "c": torch.empty(2, device="meta")}) is None
    assert first_not_finite({}) is None


def test_a_mask_may_be_infinite_but_not_nan():
    model = nn.Linear(2, 2)
    model.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
    model.register_buffer("other", torch.zeros(1))
    check_weights_finite(model, "")
    model.other[0] = float("nan")
    with pytest.raises(NotFinite, match="other of Linear holds .* infinite: fetch it again"):
        check_weights_finite(model, "fetch it again")


def test_what_is_not_finite_is_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    inputs = torch.ones(1, 2)
    with torch.no_grad():
        model[0].weight.fill_(3e38)
        model[1].weight.fill_(1.0)
    assert "it begins at 0, which overflows" in where_not_finite(model, 10 * inputs)
    assert "the batch itself" in where_not_finite(model, inputs / 0)
    with torch.no_grad():
        model[1].bias[0] = float("nan")
    assert where_not_finite(model, inputs).startswith("1.bias holds")
    assert not model[0]._forward_hooks


def test_what_a_layer_only_notes_may_be_nan():
    model = nn.Linear(2, 2)
    model.bookkeeping = ("seen",)
    model.register_buffer("seen", torch.tensor([torch.nan]))
    model.register_buffer("mask", torch.tensor([torch.inf]))
    check_weights_finite(model, "")
    model.register_buffer("late", torch.tensor([torch.inf, torch.nan]))
    with pytest.raises(NotFinite, match="^late of Linear"):
        check_weights_finite(model, "")
    with torch.no_grad():
        model.weight[0, 0] = torch.inf
    with pytest.raises(NotFinite, match="^weight of Linear"):
        check_weights_finite(model, "")


def test_numbers_of_one_byte_are_looked_at_in_more():
    large = torch.full((100,), 400.0).to(torch.float8_e4m3fn)
    assert first_not_finite({"a": large}) is None
    large[3] = torch.nan
    assert first_not_finite([("a", torch.ones(1)), ("b", large)]) == "b"
    model = nn.Linear(2, 2)
    model.register_buffer("table", large)
    with pytest.raises(NotFinite, match="^table of Linear"):
        check_weights_finite(model, "")


def test_a_batch_by_name_tells_which_and_a_model_of_one_layer_overflows_itself():
    class Model(nn.Module):
        def forward(self, ids, values):
            assert not self.training
            return values.exp()

    model, ids = Model().train(), torch.ones(1, dtype=torch.long)
    bad = {"ids": ids, "values": torch.tensor([torch.nan])}
    assert where_not_finite(model, bad).startswith("the batch itself is not: values holds")
    assert where_not_finite(model, {"ids": ids, "values": torch.tensor([1e3])}) == (
        "the model overflows"
    )
    assert model.training
