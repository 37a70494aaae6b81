"""Residual starts: the adapter takes over what a low rank can of the base, and C what it misses."""

import pytest
import torch
from torch import nn

from pclora_lab.methods.factorization import activation_svd_factors, svd_factors
from pclora_lab.methods.input_moments import InputMoments
from pclora_lab.methods.pclora.initialization import init_residual
from pclora_lab.methods.pclora.layers import PCLoRAEmbedding, PCLoRALinear

IN, OUT, RANK = 9, 7, 3


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer_of(*, bias: bool = True, scale: float = 1.0, dtype=torch.float32) -> PCLoRALinear:
    base = nn.Linear(IN, OUT, bias=bias)
    with torch.no_grad():
        for number, parameter in enumerate(base.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=number))
    return PCLoRALinear(base.to(dtype), RANK, scale=scale)


def moments_of(far: float = 2.0) -> InputMoments:
    moments = InputMoments(IN)
    moments.update(drawn(300, IN, seed=5) * torch.linspace(0.1, 3, IN) + far)
    return moments


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("measured", [False, True])
def test_A_B_and_C_are_the_formula_s(bias, scale, measured):
    layer, moments = layer_of(bias=bias, scale=scale), moments_of() if measured else None
    init_residual(layer, moments)
    W = layer.base.weight.detach()
    b = layer.base.bias.detach().double() if bias else torch.zeros(OUT, dtype=torch.float64)
    if moments is None:
        A, B = svd_factors(W, RANK)
    else:
        A, B = activation_svd_factors(W, moments.covariance, RANK)
        b = b + (W.double() - B @ A) @ moments.mean
    for part, want in (("A", A), ("B", B / scale), ("C", b)):
        value = getattr(layer, part).detach()
        torch.testing.assert_close(value.double(), want, atol=1e-5, rtol=1e-5)
        start = getattr(layer, f"start_{part}")
        assert torch.equal(start, value) and start.data_ptr() != value.data_ptr()


@pytest.mark.parametrize("measured", [False, True])
def test_the_layer_still_answers_as_its_base_does(measured):
    layer, x = layer_of(), drawn(5, IN, seed=8)
    init_residual(layer, moments_of() if measured else None)
    torch.testing.assert_close(layer(x), layer.base(x), atol=1e-5, rtol=1e-5)


def test_measured_inputs_keep_the_mean_of_the_output_once_the_base_is_gone():
    moments, layer = moments_of(far=4.0), layer_of()
    init_residual(layer, moments)
    wanted = layer.base(moments.mean.float())
    layer.drop_base()
    torch.testing.assert_close(layer(moments.mean.float()), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_start_has_the_precision_of_the_weight(dtype):
    layer = layer_of(dtype=dtype)
    init_residual(layer, moments_of())
    assert {layer.A.dtype, layer.B.dtype, layer.C.dtype, layer.start_A.dtype} == {dtype}


def test_a_table_starts_at_the_best_of_its_rank():
    table = nn.Embedding(40, 6)
    with torch.no_grad():
        table.weight.copy_(drawn(40, 6))
    layer = PCLoRAEmbedding(table, RANK)
    init_residual(layer, None)
    W = layer.base.weight.detach().double()
    lost = torch.linalg.svdvals(W)[RANK:].square().sum()
    ids = torch.arange(40)
    torch.testing.assert_close(layer(ids), table(ids), atol=1e-5, rtol=1e-5)
    layer.drop_base()
    gap = (layer(ids).detach().double() - W).square().sum()
    assert gap.item() == pytest.approx(lost.item(), rel=1e-5)


def test_a_layer_without_a_base_has_nothing_to_take_over():
    layer = layer_of()
    layer.drop_base()
    before = layer.A.detach().clone()
    with pytest.raises(ValueError, match="has no base any more: a residual start takes over a par"):
        init_residual(layer, None)
    assert torch.equal(layer.A, before)
