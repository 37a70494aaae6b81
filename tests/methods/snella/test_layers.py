"""The kernel-sparse layer against its plain composition, and what is kept, saved and merged."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from pclora_lab.methods.snella.kernels import KERNELS, merge_factors
from pclora_lab.methods.snella.layers import KernelSparseLinear
from pclora_lab.methods.snella.sparsifiers import SPARSIFIERS, kept_entries, sparsify

IN, OUT, RANK = 12, 7, 4


def make_layer(dtype=torch.float64, *, bias=True, seed=0, **options) -> KernelSparseLinear:
    generator = torch.manual_seed(seed)
    base = nn.Linear(IN, OUT, bias=bias).to(dtype)
    layer = KernelSparseLinear(base, RANK, generator=generator, **options)
    with torch.no_grad():
        for parameter in layer._trained:
            parameter += torch.rand(parameter.shape, generator=generator).to(dtype)
    return layer


def inputs(dtype=torch.float64, shape=(2, 5)) -> torch.Tensor:
    return torch.randn(*shape, IN, generator=torch.Generator().manual_seed(1)).to(dtype)


def plain(layer: KernelSparseLinear, x: torch.Tensor, branch_x=None) -> torch.Tensor:
    """Dense layer plus ``x S``, composed of the two public functions."""
    scalars = dict(zip(("alpha", "gamma", "beta"), layer._trained[2:], strict=False))
    M = merge_factors(layer.A, layer.B, layer.kernel, **scalars)
    S = sparsify(M, layer.sparsity.item(), layer.sparsifier)
    base = F.linear(x, layer.base.weight, layer.base.bias)
    return base + (x if branch_x is None else branch_x) @ S.to(x.dtype)


def gradients(layer: KernelSparseLinear, x: torch.Tensor, output) -> list[torch.Tensor]:
    """The output and the gradients of x and of everything the layer trains."""
    layer.zero_grad()
    torch.manual_seed(5)  # for dropout
    x = x.detach().requires_grad_()
    y = output(x)
    y.backward(torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y))
    return [y.detach(), x.grad, *(parameter.grad.clone() for parameter in layer._trained)]


def assert_same(got, want, tolerance):
    torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_layer_equals_its_plain_composition(kernel, sparsifier):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        layer, x = (
            make_layer(dtype, kernel=kernel, sparsifier=sparsifier, sparsity=0.6),
            inputs(dtype),
        )
        want = gradients(layer, x, lambda x, layer=layer: plain(layer, x))
        assert_same(gradients(layer, x, layer), want, tolerance)
        assert layer.base.weight.grad is None and layer.base.bias.grad is None


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 3)], ids=str)
def test_any_leading_shape_without_bias(shape, sparsity):
    layer, x = make_layer(bias=False, sparsity=sparsity), inputs(shape=shape)
    want = gradients(layer, x, lambda x: plain(layer, x))
    assert_same(gradients(layer, x, layer), want, 1e-12)


def test_dropout_touches_only_the_branch_and_only_in_training():
    layer, x = make_layer(dropout=0.5, sparsity=0.5), inputs()
    want = gradients(layer, x, lambda x: plain(layer, x, F.dropout(x, 0.5)))
    assert_same(gradients(layer, x, layer), want, 1e-12)
    layer.eval()
    assert_same(gradients(layer, x, layer), gradients(layer, x, lambda x: plain(layer, x)), 1e-12)


def test_a_layer_may_be_used_twice_and_changed_before_the_backward_pass():
    layer, x = make_layer(sparsity=0.5), inputs()
    want = gradients(layer, x, lambda x: plain(layer, plain(layer, x)[..., :1] * x))

    def twice(x):
        y = layer(layer(x)[..., :1] * x)
        layer.set_sparsity(0.1)
        return y

    assert_same(gradients(layer, x, twice), want, 1e-12)


def test_only_what_asks_for_a_gradient_gets_one():
    layer, x = make_layer(kernel="mixed"), inputs()
    layer.A.requires_grad_(False)
    layer.gamma.requires_grad_(False)
    layer(x).sum().backward()
    assert layer.A.grad is None and layer.gamma.grad is None and x.grad is None
    assert layer.B.grad.abs().sum() > 0 and layer.alpha.grad.abs() > 0
    layer.requires_grad_(False)
    layer(x.requires_grad_()).sum().backward()
    assert x.grad.abs().sum() > 0


def test_the_backward_pass_keeps_x_the_factors_and_a_scalar():
    layer, x = make_layer(), inputs().requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor):
        layer(x)
    own = {tensor.data_ptr() for tensor in (x, *layer.parameters())}
    assert [tensor.numel() for tensor in kept if tensor.data_ptr() not in own] == [1]


@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_no_value_is_read_back_from_the_device(kernel, sparsifier):
    # A tensor on meta has no values: reading one raises.
    layer = make_layer(torch.float32, kernel=kernel, sparsifier=sparsifier, dropout=0.1).to("meta")
    x = torch.empty(2, 5, IN, device="meta", requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.is_meta and layer.A.grad.is_meta


def test_the_base_is_shared_and_its_hooks_stay_silent():
    base, called = nn.Linear(IN, OUT), []
    base.register_forward_hook(lambda *_: called.append(1))
    layer = KernelSparseLinear(base, RANK, dropout=0.1)
    layer(torch.zeros(1, IN))
    assert layer.base.weight is base.weight and layer.base.bias is base.bias
    assert not called and not base.weight.requires_grad


def test_factors_are_uniform_within_their_bounds_and_follow_the_seed():
    base = nn.Linear(400, 100)
    seeds = (torch.Generator().manual_seed(seed) for seed in (0, 0, 1))
    one, same, other = (KernelSparseLinear(base, 50, generator=seed) for seed in seeds)
    assert torch.equal(one.A, same.A) and torch.equal(one.B, same.B)
    assert not torch.equal(one.A, other.A)
    for factor, bound in ((one.A, 0.01), (one.B, 0.02)):  # 1/√(400·25) and 1/√(100·25)
        assert 0.99 * bound < factor.abs().max() <= bound
        assert factor.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    mixed = KernelSparseLinear(base, 50, kernel="mixed")
    assert (mixed.alpha.item(), mixed.gamma.item(), mixed.beta.item()) == (1, 1, 0)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("kernel", KERNELS)
def test_bfloat16_autocast_equals_a_rounded_layer(kernel, dropout):
    layer, x = make_layer(torch.float32, kernel=kernel, dropout=dropout), inputs(torch.float32)
    exact = gradients(layer, x, layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = gradients(layer, x, layer)
    assert rounded[0].dtype == torch.bfloat16 and rounded[2].dtype == torch.float32
    for got, want in zip(rounded, exact, strict=True):
        assert (got.float() - want).abs().max() <= 0.03 * want.abs().max()


def test_autocast_around_the_backward_pass_alone_changes_nothing():
    layer, x = make_layer(torch.float32), inputs(torch.float32)
    want, y = gradients(layer, x, layer)[2], layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (got,) = torch.autograd.grad(y, layer.A, torch.cos(torch.arange(y.numel())).view_as(y))
    assert torch.equal(got, want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_sparsity_and_stays_close(dtype):
    layer = make_layer(torch.float32)
    layer.set_num_tunable(17)
    rounded = copy.deepcopy(layer).to(dtype)
    assert rounded.num_tunable == 17 and torch.equal(rounded.sparsity, layer.sparsity)
    exact = gradients(rounded.double(), inputs(), rounded)
    for got, want in zip(gradients(rounded.to(dtype), inputs(dtype), rounded), exact, strict=True):
        assert got.dtype == dtype
        assert (got.double() - want).abs().max() <= 0.02 * want.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("assign", [False, True])
def test_a_saved_layer_comes_back_bit_for_bit(tmp_path, assign, dtype):
    layer = make_layer(torch.float32, kernel="mixed").to(dtype)
    layer.set_num_tunable(31)
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    other = make_layer(torch.float32, kernel="mixed", seed=9).to(dtype)
    other.load_state_dict(load_file(tmp_path / "layer.safetensors"), assign=assign)
    assert other.num_tunable == 31 and torch.equal(other.sparsity, layer.sparsity)
    assert torch.equal(other(inputs(dtype)), layer(inputs(dtype)))


def test_loading_moves_the_number_that_the_forward_pass_uses():
    layer, other = make_layer(sparsity=0.25), make_layer(sparsity=0.75)
    other.load_state_dict(layer.state_dict())
    assert other.num_tunable == layer.num_tunable == kept_entries(0.25, IN * OUT)
    with pytest.raises(RuntimeError, match=r"sparsity: sparsity nan is not in \[0, 1\]"):
        other.load_state_dict({**layer.state_dict(), "sparsity": torch.tensor(torch.nan)})
    assert other.sparsity == 0.25 and other.num_tunable == layer.num_tunable


def test_every_count_of_a_small_layer_can_be_set():
    layer = make_layer(sparsifier="mask")
    for count in range(IN * OUT + 1):
        layer.set_num_tunable(count)
        assert layer.num_tunable == count == layer.delta().count_nonzero()
    for count in (-1, IN * OUT + 1, 2.5):
        with pytest.raises(ValueError, match=f"cannot tune {count} weights of 12→7: .* 0 to 84"):
            layer.set_num_tunable(count)


@settings(deadline=None)
@given(st.integers(1, 10**8), st.floats(0, 1))
def test_every_count_of_a_large_layer_can_be_set(entries, share):
    count = round(share * entries)
    assert kept_entries(1 - count / entries, entries) == count


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_merged_layer_equals_the_forward_pass(kernel, bias):
    layer, x = make_layer(torch.float32, kernel=kernel, bias=bias), inputs(torch.float32)
    merged, want = layer.to_linear(), layer(x)
    torch.testing.assert_close(merged(x), want, atol=1e-6, rtol=1e-6)
    assert type(merged) is nn.Linear
    assert torch.equal(merged.weight, layer.delta() + layer.base.weight)
    for parameter in merged.parameters():
        parameter.data.zero_()
    assert torch.equal(layer(x), want), "the merged layer is a copy"


def test_a_compiled_layer_gives_the_same():
    layer, x = make_layer(torch.float32, kernel="mixed"), inputs(torch.float32)
    want = gradients(layer, x, layer)
    assert_same(gradients(layer, x, torch.compile(layer, backend="eager")), want, 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 3}, "rank 3 cannot be split into two equal halves"),
        ({"rank": 0}, "rank 0 cannot be split"),
        ({"rank": -2}, "rank -2 cannot be split"),
        ({"rank": 4.0}, "rank 4.0 cannot be split .* use an even integer such as 32"),
        ({"sparsity": 2}, r"sparsity 2 is not in \[0, 1\]"),
        ({"kernel": "cubic"}, "unknown kernel 'cubic'"),
        ({"sparsifier": "hard"}, "unknown sparsifier 'hard'"),
    ],
)
def test_errors_name_the_value_and_the_cure(options, message):
    with pytest.raises(ValueError, match=message):
        KernelSparseLinear(nn.Linear(IN, OUT), **{"rank": RANK, **options})


def test_a_second_derivative_is_refused_and_not_wrong():
    layer = KernelSparseLinear(nn.Linear(6, 5), rank=2, sparsity=0.5)
    x = torch.randn(3, 6, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_model_may_change_the_output_in_place():
    layer = KernelSparseLinear(nn.Linear(6, 5), rank=2, sparsity=0.5)
    x = torch.randn(2, 3, 6)
    y = layer(x)
    expected = y.detach() / 3
    y /= 3
    y.sum().backward()
    assert torch.equal(y.detach(), expected) and layer.A.grad.abs().sum() > 0


def test_a_layer_says_how_it_is_made():
    layer = KernelSparseLinear(nn.Linear(6, 4), rank=2, kernel="rbf", sparsifier="soft")
    assert "6, 4, rank=2, kernel=rbf, rule=soft, sparsity=0.9" in repr(layer)


@pytest.mark.parametrize("count", [0, 1, 23, 24])
def test_nothing_or_all_may_be_tuned_and_not_more(count):
    layer = KernelSparseLinear(nn.Linear(6, 4), rank=2)
    layer.set_num_tunable(count)
    assert layer.num_tunable == count == int(layer.delta().count_nonzero())
    for wrong in (-1, 25, 1.0):
        with pytest.raises(ValueError, match=f"cannot tune {wrong} weights of 6→4: use an integer"):
            layer.set_num_tunable(wrong)
    assert layer.num_tunable == count


@pytest.mark.parametrize("bias", [True, False])
def test_its_weight_and_bias_can_be_read_and_its_weight_not_trained_through(bias):
    base = nn.Linear(6, 4, bias=bias)
    layer = KernelSparseLinear(base, rank=2, sparsity=0.5)
    assert layer.bias is base.bias
    with torch.no_grad():
        torch.testing.assert_close(layer.weight.clone(), base.weight + layer.delta())
    with pytest.raises(RuntimeError, match="can't train SNELLA's factors: read it under"):
        (layer.weight * 1).sum()


def test_a_saved_sparsity_that_is_none_is_refused_by_name_and_nothing_moves():
    layer = KernelSparseLinear(nn.Linear(6, 4), rank=2, sparsity=0.5)
    outer = nn.Sequential(layer)
    state = outer.state_dict()
    for wrong, reason in ((1.5, "is not in"), ([0.1, 0.2], "")):
        state["0.sparsity"] = torch.tensor(wrong, dtype=torch.float64)
        with pytest.raises(RuntimeError, match=f"0.sparsity.*{reason}"):
            outer.load_state_dict(state)
        assert layer._sparsity == 0.5 == float(layer.sparsity)
    del state["0.sparsity"]
    with pytest.raises(RuntimeError, match="sparsity"):
        outer.load_state_dict(state)
    outer.load_state_dict(state, strict=False)
    assert layer.num_tunable == kept_entries(0.5, 24)


def test_only_mixed_learns_scalars_from_their_neutral_values():
    scalars = {"alpha": 1.0, "beta": 0.0, "gamma": 1.0}
    for kernel in KERNELS:
        layer = KernelSparseLinear(nn.Linear(6, 4), rank=2, kernel=kernel)
        found = {n: float(p.detach()) for n, p in layer.named_parameters() if n in scalars}
        assert found == (scalars if kernel == "mixed" else {})
