"""A low-rank layer is two linear layers for everyone who looks, and still A, B and C."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pclora_lab.nn.low_rank import LowRankEmbedding, LowRankLinear, present_names


def filled(bias: bool = True) -> LowRankLinear:
    torch.manual_seed(0)
    layer = LowRankLinear(16, 12, 3, bias=bias)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


X = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bias", [True, False])
def test_it_computes_what_its_factors_say(bias):
    layer = filled(bias)
    assert torch.equal(layer(X), F.linear(F.linear(X, layer.A), layer.B, layer.C))
    assert [n for n, m in layer.named_modules() if type(m) is nn.Linear] == ["down", "up"]
    assert layer.A is layer.down.weight and layer.B is layer.up.weight and layer.C is layer.up.bias


def test_it_starts_as_before_and_draws_as_many_numbers():
    torch.manual_seed(0)
    layer = LowRankLinear(16, 12, 3)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    A = torch.empty(3, 16).uniform_(-0.25, 0.25)
    assert torch.equal(layer.A, A) and torch.equal(state, torch.get_rng_state())
    assert not layer.B.any() and not layer.C.any()


@pytest.mark.parametrize("bias", [True, False])
def test_weights_under_the_old_names_are_read(bias):
    layer, model = (
        filled(bias),
        nn.Sequential(nn.ModuleDict({"fc": LowRankLinear(16, 12, 3, bias=bias)})),
    )
    names = {"0.fc.A": layer.A, "0.fc.B": layer.B, "0.fc.C": layer.C}
    old = {name: value.detach() for name, value in names.items() if value is not None}
    model.load_state_dict(old)
    assert torch.equal(model[0]["fc"](X), layer(X))
    with pytest.raises(RuntimeError, match="0.fc.D"):
        model.load_state_dict({**old, "0.fc.D": X})


def test_factors_may_be_set_under_their_letters():
    layer = filled()
    layer.A, layer.C = nn.Parameter(torch.ones(3, 16)), None
    assert (
        layer.A is layer.down.weight and layer.bias is None and len(list(layer.parameters())) == 2
    )


@pytest.mark.parametrize("change", ["hook", "forward", "module"])
@pytest.mark.parametrize("part", ["down", "up"])
def test_what_is_done_to_one_of_its_layers_counts(part, change):
    layer = filled(bias=False)
    expected = 2 * layer(X).detach()
    changed = getattr(layer, part)
    if change == "hook":
        changed.register_forward_hook(lambda module, args, output: 2 * output)
    elif change == "forward":
        own = changed.forward
        changed.forward = lambda x: 2 * own(x)
    else:
        width = changed.out_features
        twice = nn.Linear(width, width, bias=False)
        twice.weight.data = 2 * torch.eye(width)
        setattr(layer, part, nn.Sequential(changed, twice))
    torch.testing.assert_close(layer(X), expected)


@pytest.mark.parametrize("made", ["linear", "table"])
def test_the_weight_can_be_read_and_not_be_written(made):
    layer = filled() if made == "linear" else LowRankEmbedding(12, 16, 3)
    nn.init.normal_(layer.B)
    product = layer.B @ layer.A if made == "linear" else layer.A @ layer.B.T
    weight = layer.weight
    assert isinstance(weight, torch.Tensor) and weight.dtype == torch.float32
    assert weight.shape == (12, 16) and weight.requires_grad
    assert torch.equal(weight.detach(), product)
    F.linear(X, weight).sum().backward()
    assert layer.A.grad is not None and layer.B.grad is not None
    for write in (
        lambda: weight.data,
        lambda: weight.copy_(product),
        lambda: nn.init.zeros_(weight),
        lambda: weight.__setitem__(0, 1.0),
        lambda: setattr(weight, "data", product),
    ):
        with pytest.raises(RuntimeError, match="write into the factors"):
            write()


def test_asking_for_the_precision_multiplies_nothing():
    class Counts(torch.utils._python_dispatch.TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            Counts.calls += func is torch.ops.aten.mm.default
            return func(*args, **(kwargs or {}))

    layer = filled()
    with Counts():
        X.to(layer.weight.dtype).to(layer.weight.device)
        assert layer.weight.shape and Counts.calls == 0
        layer.weight.sum()
    assert Counts.calls == 1


def test_a_compiler_reads_the_weight_too():
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = filled()

        def forward(self, x):
            return self.layer(x.to(self.layer.weight.dtype))

    model = Asks()
    program = torch.export.export(model, (X,))
    torch.testing.assert_close(program.module()(X), model(X))
    whole = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(whole(X), model(X))


def test_quantization_sees_both_layers():
    model = nn.Sequential(filled())
    with warnings.catch_warnings():  # torch.ao is moving to a package of its own
        warnings.simplefilter("ignore")
        small = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    kinds = {type(small[0].down).__module__, type(small[0].up).__module__}
    assert kinds == {"torch.ao.nn.quantized.dynamic.modules.linear"}
    assert (small(X) - model(X)).abs().max() < 0.1 * model(X).abs().max()
    assert "rank=3" in repr(small)


def test_peft_adapts_both_layers():
    import peft

    model = nn.Sequential(filled(), nn.ReLU(), nn.Linear(12, 2))
    expected = model(X).detach()
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["down", "up"], r=2))
    torch.testing.assert_close(adapted(X), expected)
    names = [n for n, p in adapted.named_parameters() if p.requires_grad]
    assert any("0.down.lora_A" in n for n in names) and any("0.up.lora_B" in n for n in names)
    merged = adapted.merge_and_unload()
    assert type(merged[0].up) is nn.Linear
    torch.testing.assert_close(merged(X), expected)


def test_each_of_its_layers_says_its_own_widths():
    layer = filled()
    widths = [(part.in_features, part.out_features) for part in (layer.down, layer.up)]
    assert widths == [(16, 3), (3, 12)] and repr(layer).startswith(
        "LowRankLinear(\n  16, 12, rank=3"
    )
    assert (layer.in_features, layer.out_features, layer.rank) == (16, 12, 3)
    assert layer.down.bias is None and layer.bias is layer.up.bias
    assert all(p.requires_grad for p in layer.parameters())


def test_factors_are_made_where_and_as_they_are_asked_for():
    for kind in (LowRankLinear, LowRankEmbedding):
        layer = kind(6, 4, 2, device="meta", dtype=torch.bfloat16)
        assert {(p.is_meta, p.dtype) for p in layer.parameters()} == {(True, torch.bfloat16)}
        assert layer.weight.shape == ((4, 6) if kind is LowRankLinear else (6, 4))
        assert not any(p.is_meta for p in kind(6, 4, 2).parameters())


def test_a_narrow_table_is_looked_up_and_widened():
    torch.manual_seed(0)
    table = LowRankEmbedding(5000, 6, 4)
    assert table.A.shape == (5000, 4) and table.B.shape == (6, 4) and not table.B.any()
    assert table.A.std().item() == pytest.approx(1 / 2, rel=0.03)
    assert table.A.mean().item() == pytest.approx(0, abs=0.02)
    nn.init.normal_(table.B)
    words = torch.tensor([[1, 4999], [0, 1]])
    expected = torch.stack([torch.stack([table.B @ table.A[i] for i in row]) for row in words])
    torch.testing.assert_close(table(words), expected)
    torch.testing.assert_close(F.embedding(words, table.weight), expected)
    assert repr(table) == "LowRankEmbedding(5000, 6, rank=4)"
    assert (table.num_embeddings, table.embedding_dim, table.rank) == (5000, 6, 4)


def test_only_low_rank_layers_have_other_names_than_before():
    model = nn.ModuleDict(
        {"fc": filled(), "head": nn.Linear(2, 2), "table": LowRankEmbedding(4, 2, 1)}
    )
    names = {"fc.A": "fc.down.weight", "fc.B": "fc.up.weight", "fc.C": "fc.up.bias"}
    assert present_names(model) == names
