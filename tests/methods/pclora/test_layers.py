"""The fading layer against an independent computation, and what is left of it."""

import pytest
import torch
from torch import nn

from pclora_lab.methods.pclora.layers import PCLoRAEmbedding, PCLoRALinear
from pclora_lab.nn.low_rank import LowRankLinear

IN, OUT, RANK = 12, 7, 3


def make_layer(*, bias=True, scale=1.0, residual=False) -> tuple[nn.Linear, PCLoRALinear]:
    """A base and its fading layer, the adapter moved away from its start."""
    generator = torch.Generator().manual_seed(0)
    base = nn.Linear(IN, OUT, bias=bias)
    layer = PCLoRALinear(base, RANK, scale=scale, generator=generator)
    if residual:
        shapes = ((RANK, IN), (OUT, RANK), (OUT,))
        layer.start_from(*(0.3 * torch.randn(shape, generator=generator) for shape in shapes))
    with torch.no_grad():
        for parameter in (layer.A, layer.B, layer.C):
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return base, layer


def inputs() -> torch.Tensor:
    return torch.randn(2, 5, IN, generator=torch.Generator().manual_seed(1))


def expected(base: nn.Linear, layer: PCLoRALinear, x: torch.Tensor, lam: float):
    """λ(Wx + b − sB₀A₀x − C₀) + sBAx + C in float64."""

    def numpy(tensor, shape):
        return torch.zeros(shape).numpy() if tensor is None else tensor.detach().double().numpy()

    x, W, b = numpy(x, None), numpy(base.weight, None), numpy(base.bias, OUT)
    A, B, C = (numpy(tensor, None) for tensor in (layer.A, layer.B, layer.C))
    A0 = numpy(layer.start_A, (RANK, IN))
    B0 = numpy(layer.start_B, (OUT, RANK))
    C0 = numpy(layer.start_C, OUT)
    full = x @ W.T + b - layer.scale * (x @ A0.T @ B0.T) - C0
    return lam * full + layer.scale * (x @ A.T @ B.T) + C


@pytest.mark.parametrize("lam", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("residual", [False, True], ids=["zeros", "residual"])
@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
def test_forward_equals_the_formula(bias, scale, residual, lam):
    base, layer = make_layer(bias=bias, scale=scale, residual=residual)
    layer.lam.fill_(lam)
    x = inputs()
    want = torch.as_tensor(expected(base, layer, x, lam))
    torch.testing.assert_close(layer(x).double(), want, atol=1e-5, rtol=1e-5)
    parts = layer.base_output(x) + layer.adapter_output(x)
    torch.testing.assert_close(parts.double(), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
def test_a_new_layer_equals_its_base_bit_for_bit(bias):
    base = nn.Linear(IN, OUT, bias=bias)
    assert torch.equal(PCLoRALinear(base, RANK)(inputs()), base(inputs()))


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_a_residual_start_equals_its_base_at_lambda_one(scale):
    base = nn.Linear(IN, OUT)
    layer = PCLoRALinear(base, RANK, scale=scale)
    layer.start_from(torch.randn(RANK, IN), torch.randn(OUT, RANK), torch.randn(OUT))
    torch.testing.assert_close(layer(inputs()), base(inputs()), atol=1e-5, rtol=1e-5)


def test_A_is_uniform_within_one_over_root_in_and_follows_the_seed():
    base = nn.Linear(400, 10)
    seeds = (0, 0, 1)
    first, same, other = (
        PCLoRALinear(base, 50, generator=torch.Generator().manual_seed(s)).A for s in seeds
    )
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert 0.049 < first.abs().max() <= 0.05
    assert first.std().item() == pytest.approx(0.05 / 3**0.5, rel=0.05)


@pytest.mark.parametrize("residual", [False, True], ids=["zeros", "residual"])
def test_gradients_reach_the_adapter_and_the_input_but_never_the_base(residual):
    base, layer = make_layer(residual=residual)
    layer.lam.fill_(0.5)
    x = inputs().requires_grad_()
    layer(x).sum().backward()
    assert base.weight.grad is None and base.bias.grad is None
    assert all(p.grad.abs().sum() > 0 for p in (layer.A, layer.B, layer.C))
    through_base = base.weight.detach() - (layer.start_B @ layer.start_A if residual else 0)
    matrix = 0.5 * through_base + layer.B.detach() @ layer.A.detach()
    torch.testing.assert_close(x.grad, matrix.sum(0).expand_as(x), atol=1e-5, rtol=1e-5)


def test_lambda_is_a_scalar_buffer_and_the_base_is_shared():
    base, layer = make_layer()
    assert dict(layer.named_buffers())["lam"].shape == ()
    assert layer.base.weight is base.weight and layer.base.bias is base.bias
    assert layer.base is not base


def test_moving_lambda_does_not_compile_again():
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    _, layer = make_layer()
    compiled = torch.compile(layer, backend=backend)
    for lam in (1.0, 0.5, 0.1):
        layer.lam.fill_(lam)
        assert torch.equal(compiled(inputs()), layer(inputs()))
    assert len(graphs) == 1


@pytest.mark.parametrize("residual", [False, True], ids=["zeros", "residual"])
def test_dropping_the_base_leaves_the_output_at_lambda_zero(residual):
    _, layer = make_layer(residual=residual)
    layer.lam.fill_(0.0)
    before = layer(inputs())
    layer.drop_base()
    torch.testing.assert_close(layer(inputs()), before, atol=1e-6, rtol=1e-6)
    assert set(layer.state_dict()) == {"A", "B", "C", "lam", "trained_lam"}


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_to_low_rank_equals_the_layer_at_lambda_zero(scale):
    _, layer = make_layer(scale=scale)
    layer.lam.fill_(0.0)
    small = layer.to_low_rank()
    assert isinstance(small, LowRankLinear)
    torch.testing.assert_close(small(inputs()), layer(inputs()), atol=1e-6, rtol=1e-6)
    layer.A.data.zero_()
    assert small.A.abs().sum() > 0, "the exported layer is a copy"


def test_a_low_rank_layer_can_do_without_a_bias():
    layer = LowRankLinear(IN, OUT, RANK, bias=False)
    nn.init.normal_(layer.B)
    assert layer.C is None and set(layer.state_dict()) == {"down.weight", "up.weight"}
    assert "bias=False" in repr(layer)
    torch.testing.assert_close(layer(inputs()), inputs() @ layer.A.T @ layer.B.T)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("residual", [False, True], ids=["zeros", "residual"])
def test_bfloat16_autocast_works_forward_and_backward(residual, bias):
    _, layer = make_layer(residual=residual, bias=bias)
    layer.lam.fill_(0.3)
    exact = layer(inputs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = layer(inputs())
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.02)
    rounded.float().sum().backward()
    assert torch.isfinite(layer.A.grad).all() and layer.A.grad.abs().sum() > 0


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("residual", [False, True], ids=["zeros", "residual"])
def test_the_weight_that_can_be_read_is_the_one_that_is_used(residual, scale):
    base, layer = make_layer(residual=residual, scale=scale)
    layer.lam.fill_(0.3)
    x = inputs()
    torch.testing.assert_close(
        torch.nn.functional.linear(x, layer.weight + 0, layer.bias), layer(x), rtol=1e-4, atol=1e-5
    )
    layer.drop_base()
    torch.testing.assert_close(layer.weight + 0, layer.scale * layer.B @ layer.A)


def test_a_model_may_change_the_output_in_place_and_lambda_is_noted_all_the_same():
    _, layer = make_layer()
    layer.lam.fill_(0.4)
    layer.eval()
    y = layer(inputs())
    y.relu_()
    y.sum().backward()
    assert layer.trained_lam == layer.lam and layer.A.grad is not None


def test_who_asks_for_the_gradient_of_the_base_gets_it_however_many_tokens():
    base, layer = make_layer()
    layer.base.weight.requires_grad_()
    layer.lam.fill_(0.5)
    x = inputs().repeat(4, 1, 1)
    layer(x).sum().backward()
    torch.testing.assert_close(base.weight.grad, 0.5 * x.sum((0, 1)).expand(OUT, IN))


def test_a_layer_says_how_wide_it_is_and_whether_its_base_is_held():
    _, layer = make_layer()
    assert "12, 7, rank=3, base held" in repr(layer)
    layer.drop_base()
    assert "12, 7, rank=3, base dropped" in repr(layer)
    table = PCLoRAEmbedding(nn.Embedding(9, 4), rank=2)
    assert "9, 4, rank=2, base held" in repr(table)
    table.drop_base()
    assert "9, 4, rank=2, base dropped" in repr(table)


@pytest.mark.parametrize("residual", [False, True])
def test_without_a_base_nothing_comes_from_it_and_the_adapter_is_all(residual):
    _, layer = make_layer(residual=residual, scale=0.5)
    layer.lam.fill_(0.7)
    layer.drop_base()
    x = inputs()
    assert torch.equal(layer.base_output(x), torch.zeros(2, 5, OUT))
    assert torch.equal(layer(x), layer.adapter_output(x))
    assert layer.bias is layer.C
    torch.testing.assert_close(layer.weight.clone(), 0.5 * layer.B @ layer.A)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("residual", [False, True])
def test_the_bias_that_can_be_read_is_the_output_for_zeros(bias, residual):
    _, layer = make_layer(bias=bias, residual=residual)
    layer.lam.fill_(0.3)
    torch.testing.assert_close(layer.bias, layer(torch.zeros(IN)))


def test_a_start_is_copied_and_stays_while_the_adapter_learns():
    layer = PCLoRALinear(nn.Linear(IN, OUT), RANK, scale=2.0)
    A, B, C = torch.randn(RANK, IN), torch.randn(OUT, RANK), torch.randn(OUT)
    layer.start_from(A, B, C)
    assert torch.equal(layer.A, A) and torch.equal(layer.C, C)
    torch.testing.assert_close(layer.scale * layer.B, B)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_() if parameter.requires_grad else None
    assert torch.equal(layer.start_A, A) and torch.equal(layer.start_C, C)
    assert not any(t.requires_grad for t in (layer.start_A, layer.start_B, layer.start_C))


def test_a_table_of_words_begins_as_drawn_and_shares_its_base_alone():
    base = nn.Embedding(500, 8, padding_idx=3)
    base.register_forward_hook(lambda *_: pytest.fail("the teacher's hook"))
    drawn = [
        PCLoRAEmbedding(base, 16, generator=torch.Generator().manual_seed(seed)).A
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert drawn[0].std().item() == pytest.approx(0.25, rel=0.05)
    layer = PCLoRAEmbedding(base, 16)
    assert layer.base.weight is base.weight and not base.weight.requires_grad
    assert (layer.num_embeddings, layer.embedding_dim, layer.rank) == (500, 8, 16)
    layer.lam.fill_(0.5)
    with torch.no_grad():
        layer.B.normal_()
    ids = torch.tensor([[3, 7]])
    layer(ids).sum().backward()
    assert base.weight.grad is None and layer.A.grad[3].any(), "its padding word is as any other"
    layer.drop_base()
    assert torch.equal(layer.base_output(ids), torch.zeros(1, 2, 8))
    assert torch.equal(layer(ids), layer.adapter_output(ids))
    torch.testing.assert_close(layer.weight.clone(), layer.A @ layer.B.T)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_precision_is_the_bases_also_of_what_is_left(dtype):
    linear = PCLoRALinear(nn.Linear(IN, OUT).to(dtype), RANK)
    table = PCLoRAEmbedding(nn.Embedding(9, 4).to(dtype), rank=2)
    for layer in (linear, table):
        assert {p.dtype for p in layer.parameters()} == {dtype}
        assert {p.dtype for p in layer.to_low_rank().parameters()} == {dtype}


def test_tokens_of_all_leading_dimensions_count_for_what_is_cheaper(monkeypatch):
    asked = []

    def pays(*sizes):
        asked.append(sizes)
        return False

    monkeypatch.setattr("pclora_lab.methods.pclora.layers.merging_pays", pays)
    make_layer()[1](torch.zeros(2, 3, 5, IN))
    assert asked == [(30, IN, OUT)]


def many() -> torch.Tensor:
    """So many tokens that base and adapter are one product."""
    return torch.randn(40, IN, generator=torch.Generator().manual_seed(2))


def test_unless_told_otherwise_nothing_scales_the_adapter():
    layer = PCLoRALinear(nn.Linear(IN, OUT), RANK)
    nn.init.normal_(layer.B)
    for x in (inputs(), many()):
        low_rank = x @ layer.A.T @ layer.B.T
        torch.testing.assert_close(layer.adapter_output(x), low_rank)
        torch.testing.assert_close(layer(x), layer.base(x) + low_rank)


def test_whoever_watches_the_base_sees_it_run_however_many_tokens():
    _, layer = make_layer()
    seen = []
    layer.base.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    layer(many())
    assert seen == [40]


def test_a_weight_of_another_kind_is_left_to_its_own_product(monkeypatch):
    """As a tensor that is quantized or split over devices, which only its own operators take."""
    _, layer = make_layer()
    layer.lam.fill_(0.5)
    wanted = layer(many())
    del layer.base.weight
    layer.base.weight = layer.B.new_zeros(OUT, IN) + make_layer()[0].weight.detach()
    monkeypatch.setattr("pclora_lab.methods.pclora.layers.merged_linear", None)
    assert layer(many()).shape == wanted.shape


def test_who_asks_for_the_gradient_of_lambda_gets_it_however_many_tokens():
    base, layer = make_layer()
    layer.lam.requires_grad_()
    layer.eval()(many()).sum().backward()
    torch.testing.assert_close(layer.lam.grad, base(many()).sum())


def test_the_shell_of_a_table_is_as_large_as_the_table_and_looks_up_the_same():
    table = nn.Embedding(9, 4, padding_idx=2)
    shell = PCLoRAEmbedding(table, rank=2).base
    assert (shell.num_embeddings, shell.embedding_dim) == (9, 4)
    assert shell.weight is table.weight and torch.equal(shell(torch.arange(9)), table.weight)
