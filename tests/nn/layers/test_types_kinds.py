"""Every kind of layer is known by what it is, and computes the same as the nn.Linear it gives."""

import pytest
import torch
from odd_linears import Doubled, Squared
from records import assert_fixed
from torch import Tensor, nn

from pclora_lab.nn.layers import types
from pclora_lab.nn.layers.types import is_untouched, layer_type, plain_linear

X = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))


def of_quantizer(module: str = "torchao.quantization", **widths: int) -> nn.Module:
    """A layer as a library of packed integers defines its own."""
    made = type("PackedLinear", (nn.Module,), {"__module__": module})()
    vars(made).update(widths)
    return made


def integers() -> nn.Linear:
    layer = nn.Linear(4, 2)
    layer.weight = nn.Parameter(torch.ones(2, 4, dtype=torch.int8), requires_grad=False)
    return layer


def of_tensor_subclass() -> nn.Linear:
    layer = nn.Linear(4, 2)
    kind = type("AffineQuantizedTensor", (Tensor,), {"__module__": "torchao.dtypes"})
    layer._parameters["weight"] = torch.ones(2, 4).as_subclass(kind)
    return layer


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: of_quantizer(in_features=4, out_features=2), "torchao.quantization.PackedLinear"),
        (lambda: of_quantizer("awq", in_features=4, out_features=2), "awq.PackedLinear"),
        (integers, "torch.nn.parameter.Parameter"),
        (of_tensor_subclass, "torchao.dtypes.AffineQuantizedTensor"),
    ],
    ids="module package integers tensor".split(),
)
def test_packed_integers_are_known_by_where_they_come_from_and_refused(build, name):
    layer = build()
    kind = layer_type(layer)
    assert kind.name == "quantized layer"
    with pytest.raises(ValueError, match=rf"^it is quantized \({name}\), so .* quantize the r"):
        kind.as_linear(layer)


def test_what_is_not_packed_is_no_quantized_layer():
    for layer in (nn.Linear(4, 2), nn.Linear(4, 2).half(), nn.LazyLinear(2), bare()):
        assert layer_type(layer).name != "quantized layer"
    for other in (
        of_quantizer(in_features=4),
        of_quantizer(out_features=2),
        of_quantizer(),
        of_quantizer("torchaother", in_features=4, out_features=2),
    ):
        assert layer_type(other) is None
    table = nn.Embedding(4, 2)
    table.in_features = table.out_features = 2
    table.weight = nn.Parameter(torch.ones(4, 2, dtype=torch.int8), requires_grad=False)
    assert layer_type(table) is None


def bare() -> nn.Linear:
    """A linear layer whose weight is no parameter but what a method computes."""
    layer = nn.Linear(4, 2)
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight
    return layer


def test_a_layer_that_has_no_weight_yet_is_refused_with_a_cure():
    layer = nn.LazyLinear(2)
    assert layer_type(layer).name == "subclass of nn.Linear"
    with pytest.raises(ValueError, match="^it is lazy and has no weight yet: run the model once"):
        layer_type(layer).as_linear(layer)


@pytest.mark.parametrize("trains", [True, False])
def test_parameters_are_kept_and_other_tensors_are_copied(trains):
    weight, bias = nn.Parameter(torch.ones(2, 3)), torch.ones(2, requires_grad=trains)
    layer = plain_linear(weight, bias)
    assert layer.weight is weight and (layer.in_features, layer.out_features) == (3, 2)
    assert isinstance(layer.bias, nn.Parameter) and layer.bias.requires_grad == trains
    assert layer.bias.data_ptr() != bias.data_ptr() and torch.equal(layer.bias, bias)
    assert plain_linear(weight, None).bias is None


@pytest.mark.parametrize(
    "watch",
    [
        lambda layer: layer.register_forward_hook(print),
        lambda layer: layer.register_forward_pre_hook(print),
        lambda layer: layer.register_full_backward_hook(print),
        lambda layer: layer.register_full_backward_pre_hook(print),
        lambda layer: setattr(layer, "forward", layer.forward),
    ],
    ids="forward before backward before_backward forward_of_its_own".split(),
)
def test_a_watched_layer_is_not_as_torch_makes_it(watch):
    layer = nn.Linear(2, 2)
    assert is_untouched(layer)
    watch(layer)
    assert not is_untouched(layer)
    assert not is_untouched(Doubled(2, 2)) and not is_untouched(nn.Identity())


class Conv1D(nn.Module):
    """GPT-2's: (in, out)."""

    def __init__(self) -> None:
        super().__init__()
        self.nf = 2
        self.weight, self.bias = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2))


def test_gpt2s_layer_is_read_the_other_way_round_on_the_same_storage():
    layer = Conv1D()
    layer.weight.requires_grad_(False)
    linear = layer_type(layer).as_linear(layer)
    assert layer_type(layer).name == "Conv1D" and linear.bias is layer.bias
    assert torch.equal(linear.weight, layer.weight.T) and not linear.weight.requires_grad
    assert linear.weight.data_ptr() == layer.weight.data_ptr()
    del layer.nf
    assert layer_type(layer) is None, "another one of that name"


@pytest.mark.parametrize("shape", [(2, 3), (1, 4), (1, 3)])
def test_a_layer_whose_units_were_cut_off_has_the_widths_of_its_weight(shape):
    layer = nn.Linear(4, 2, bias=False)
    layer.weight = nn.Parameter(torch.ones(shape))
    linear = layer_type(layer).as_linear(layer)
    assert (linear.out_features, linear.in_features) == shape and linear.weight is layer.weight


def test_a_normed_layer_is_taken_as_it_computes_now_and_stays_as_it_was():
    with pytest.warns(FutureWarning, match="weight_norm"):
        layer = nn.utils.weight_norm(nn.Linear(8, 8)).train()
    held = layer.weight
    with torch.no_grad():
        layer.weight_g.mul_(2)
    linear = layer_type(layer).as_linear(layer)
    assert layer_type(layer).name == "linear layer of a computed weight"
    assert layer.weight is held and layer.training and layer.bias is linear.bias
    torch.testing.assert_close(linear(X), layer(X))


class SameFunction(nn.Linear):
    """A forward of its own that computes what torch's does."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


class Noisy(Doubled):
    """Draws while it trains, and from somebody else's generator even when it does not."""

    def forward(self, x: Tensor) -> Tensor:
        torch.rand(1)
        return super().forward(x) + (torch.rand(1) if self.training else 0.0)


class OnlyNamed(nn.Linear):
    """A subclass that changes nothing."""


@pytest.mark.parametrize("kind", [SameFunction, OnlyNamed])
def test_a_subclass_that_computes_with_its_weight_shares_it(kind):
    layer = kind(8, 8)
    linear = layer_type(layer).as_linear(layer)
    assert type(linear) is nn.Linear and linear.weight is layer.weight is not None
    assert linear.bias is layer.bias


def test_a_forward_put_on_the_layer_itself_counts_too():
    layer = OnlyNamed(8, 8)
    layer.forward = lambda x: 3 * nn.Linear.forward(layer, x)
    linear = layer_type(layer).as_linear(layer)
    torch.testing.assert_close(linear(X), layer(X))


def test_looking_at_a_subclass_draws_nothing_and_leaves_its_mode():
    layer, before = Noisy(8, 4).train(), torch.get_rng_state()
    linear = layer_type(layer).as_linear(layer)
    assert layer.training and torch.equal(torch.get_rng_state(), before)
    assert linear.weight.shape == (8, 8) and linear.weight.is_contiguous()
    torch.testing.assert_close(linear(X), layer.eval()(X))


def test_a_subclass_without_values_is_taken_by_its_weight():
    layer = Squared(8, 8, device="meta")
    assert layer_type(layer).as_linear(layer).weight is layer.weight


@pytest.mark.parametrize(
    ("dtype", "rounding", "wrong"),
    [(torch.float64, 1e-10, 1e-5), (torch.float32, 1e-6, 1e-2), (torch.bfloat16, 1e-2, 0.5)],
)
def test_rounding_is_no_other_function_and_anything_more_is(dtype, rounding, wrong):
    wanted = torch.tensor([[3.0, -200.0]], dtype=dtype)
    assert types._equal(wanted * (1 + rounding), wanted)
    assert not types._equal(wanted * (1 + wrong), wanted)
    assert not types._equal(wanted[:, :1], wanted), "nor is one of another shape"
    small = wanted / 1e6
    assert types._equal(small + rounding, small), "near zero it is the absolute error that counts"


def test_the_table_of_kinds_can_be_added_to_and_not_changed():
    assert_fixed(*types.LAYER_TYPES)
    assert isinstance(types.LAYER_TYPES, tuple)
