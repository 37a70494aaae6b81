"""How far two models' outputs are apart, where they differ, and what is said of it."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pclora_lab.nn.layers.comparing import (
    largest_gap,
    layers_compared,
    module_of,
    outputs_by_module,
    own_hooks,
    rounding_of,
    run,
    said,
)


def test_the_largest_gap_is_told_beside_the_largest_value():
    value, wanted = torch.tensor([1.0, -4.0, 9.0]), torch.tensor([1.5, -3.0, torch.inf])
    assert largest_gap(value, wanted, wanted.isfinite()) == (1.0, 3.0)
    assert largest_gap(wanted / 8, wanted / 8, wanted.isfinite()) == (0.0, 0.375)


def test_where_there_is_no_number_there_is_no_gap():
    empty = torch.zeros(0)
    assert largest_gap(empty, empty, empty.isfinite()) == (0.0, 0.0)


class Returns(nn.Module):
    """Returns what is made of its input."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: torch.Tensor) -> object:
        return self.make(x)


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda x: x, [1]),
        (lambda x: {"a": x, "ids": x.long(), "b": [2 * x, (3 * x,)]}, [1, 2, 3]),
        (lambda x: SimpleNamespace(logits=(x, 4 * x), loss=9 * x), [1, 4]),
        (lambda x: (x.long(), None, "text"), []),
    ],
    ids="tensor nested logits none".split(),
)
def test_every_floating_point_tensor_of_a_model_is_found_in_order(make, wanted):
    x = torch.ones(1)
    for inputs in (x, {"x": x}):
        assert [value.item() for value in run(Returns(make), inputs)] == wanted


def test_each_module_tells_what_it_gave_first_in_the_order_in_which_it_was_done():
    twice = nn.Linear(1, 1)
    nn.init.constant_(twice.weight, 3.0)
    nn.init.zeros_(twice.bias)
    model = nn.Sequential(nn.Sequential(twice), twice, Returns(lambda x: (x + 1, x)))
    found = outputs_by_module(model, torch.ones(1))
    assert {name: value.item() for name, value in found.items()} == {"0.0": 3, "0": 3, "2": 10}
    assert list(found) == ["0.0", "0", "2"]
    assert not any(value.requires_grad for value in found.values())


def test_hooks_of_somebody_else_are_mentioned():
    for watch in ("register_forward_hook", "register_forward_pre_hook"):
        layer = nn.Linear(1, 1)
        assert own_hooks(layer) == ""
        getattr(layer, watch)(lambda *args: None)
        assert own_hooks(layer) == ", whose hooks are no part of a student"


def failing(x: torch.Tensor) -> torch.Tensor:
    raise KeyError("here\nand there")


def test_an_error_is_of_the_innermost_module_and_said_in_a_line():
    model = nn.Sequential(nn.Sequential(nn.Identity(), Returns(failing)))
    with pytest.raises(KeyError) as error:
        model(torch.ones(1))
    assert module_of(error.value, model) == "0.1"
    assert module_of(error.value, nn.Identity()) == "Identity"
    assert said(ValueError("first\nsecond")) == "ValueError: first"
    assert said(ValueError(" \n")) == "ValueError"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_coarser_numbers_may_be_rounded_more(dtype):
    share = rounding_of(torch.zeros(1, dtype=dtype))
    assert torch.finfo(dtype).eps < share < 1
    order = [torch.float64, torch.float32, torch.bfloat16]
    shares = [rounding_of(torch.zeros(1, dtype=d)) for d in order]
    assert shares == sorted(set(shares)) and share <= shares[2]


class Named(nn.Linear):
    """Is given its input by name."""

    def forward(self, *, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


class Uses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), Named(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(x=self.first(x))


def test_layers_that_compute_what_they_say_are_not_mentioned():
    model, x = Uses(), torch.ones(2, 4)
    with layers_compared(model, {"first": model.first, "second": model.second}) as wrong:
        assert len(model.first._forward_hooks) == 0, "nothing can come between"
        model(x)
    assert wrong == [] and not model.second._forward_hooks and not model.second._forward_pre_hooks


def test_a_layer_that_gives_something_else_is_named_with_the_gap_and_its_hooks():
    model = Uses()
    model.second.register_forward_hook(lambda module, args, output: output + 0.25)
    model.second.register_forward_pre_hook(lambda module, args: None)
    with layers_compared(model, {"first": model.first, "second": model.second}) as wrong:
        model(torch.ones(2, 4))
    [text] = wrong
    assert text.startswith("second (Named) does not give W x + b: ") and "by up to 0.25," in text
    assert "hooks are no part" in text


@pytest.mark.parametrize(
    ("scale", "off", "is_wrong"),
    [(1, 2e-3, True), (1, 5e-4, False), (100, 5e-2, False), (100, 0.2, True)],
)
def test_a_gap_is_compared_with_the_largest_value_and_with_one(scale, off, is_wrong):
    base = nn.Linear(1, 1, bias=False)
    nn.init.constant_(base.weight, scale)
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.constant_(model[0].weight, scale + off)
    with layers_compared(model, {"0": base}) as wrong:
        model(torch.ones(1, 1))
    assert bool(wrong) == is_wrong


def test_what_a_hook_does_to_the_input_is_no_part_of_a_student_either():
    model = Uses()

    def doubled(module: nn.Module, args: tuple, kwargs: dict) -> tuple:
        return args, {"x": 2 * kwargs["x"]}

    model.second.register_forward_pre_hook(doubled, with_kwargs=True)
    with layers_compared(model, {"second": model.second}) as wrong:
        model(torch.ones(2, 4))
    assert len(wrong) == 1 and wrong[0].startswith("second (Named) does not give W x + b")


def test_a_layer_is_compared_every_time_it_runs():
    layer = Named(2, 2)
    layer.register_forward_hook(lambda module, args, output: output + 1)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x=self.layer(x=x))

    model = Twice()
    with layers_compared(model, {"layer": layer}) as wrong:
        model(torch.zeros(1, 2))
    assert len(wrong) == 2


def test_a_layer_on_another_weight_is_looked_at_however_plain_it_is():
    model, base = nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2)
    with layers_compared(model, {"0": base}) as wrong:
        model(torch.ones(1, 2))
    [text] = wrong
    assert text.startswith("0 (Linear) does not give") and "hooks" not in text
