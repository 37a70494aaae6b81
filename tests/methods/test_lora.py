"""LoRA: what trains, what is shared, what each option changes, and the merged weights."""

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn.utils import parametrizations

from pclora_lab.methods.base import MethodContext
from pclora_lab.methods.lora import LoRA, LoRAConfig
from pclora_lab.nn.counting import count_model
from pclora_lab.nn.surgery import find_targets


def context(seed: int = 0, **more) -> MethodContext:
    return MethodContext(generator=torch.Generator().manual_seed(seed), **more)


def applied(model: nn.Module, seed: int = 0, **options) -> nn.Module:
    return LoRA(LoRAConfig(**options)).apply(model, context(seed))


def adapters(student: nn.Module) -> dict[str, LoraLayer]:
    found = {n: m for n, m in student.named_modules() if isinstance(m, LoraLayer)}
    return {name.removeprefix("base_model.model."): layer for name, layer in found.items()}


def moved(student: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in adapters(student).values():
            layer.lora_B["default"].weight.normal_(generator=generator)
    return student


@pytest.mark.parametrize("targets", ["blocks", "fc1"])
def test_adapters_and_the_head_train_beside_frozen_weights_that_are_shared(vit, images, targets):
    vit.requires_grad_(True)
    wanted = vit(images)
    student = applied(vit, targets=targets)
    layers = find_targets(vit, targets)
    assert adapters(student).keys() == layers.keys()
    for name, adapter in adapters(student).items():
        base = adapter.get_base_layer()
        assert base is not layers[name], "only the numbers are shared"
        assert base.weight.data_ptr() == layers[name].weight.data_ptr()
        assert base.bias.data_ptr() == layers[name].bias.data_ptr()
    trained = {n for n, p in student.named_parameters() if p.requires_grad}
    assert all("lora_" in n or "head.modules_to_save" in n for n in trained)
    assert len(trained) == 2 * len(layers) + 2
    assert torch.equal(student.eval()(images), wanted), "it begins at the model"


def test_the_model_is_left_as_it_was(vit):
    vit.requires_grad_(True)
    before = {n: x.clone() for n, x in vit.state_dict().items()}
    moved(applied(nn.DataParallel(vit)))
    shared = {id(p) for layer in find_targets(vit).values() for p in layer.parameters()}
    assert all(p.requires_grad == (id(p) not in shared) for p in vit.parameters())
    assert all(torch.equal(x, before[n]) for n, x in vit.state_dict().items())
    assert not any(isinstance(m, LoraLayer) for m in vit.modules())


@pytest.mark.parametrize(("rank", "alpha"), [(2, 4.0), (4, 4.0), (1, 0.5)])
def test_the_merged_weight_is_the_formula_s(vit, images, rank, alpha):
    student = moved(applied(vit, rank=rank, alpha=alpha))
    merged = LoRA(LoRAConfig()).finalize(student.train())
    assert student.training and not any(m.training for m in merged.modules())
    for name, layer in find_targets(vit).items():
        adapter = adapters(student)[name]
        A, B = (getattr(adapter, n)["default"].weight for n in ("lora_A", "lora_B"))
        assert A.shape == (rank, layer.in_features)
        wanted = layer.weight + alpha / rank * (B @ A)
        small = merged.get_submodule(name)
        assert type(small) is nn.Linear and small.weight.data_ptr() != layer.weight.data_ptr()
        torch.testing.assert_close(small.weight, wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(merged(images), student.eval()(images), atol=1e-4, rtol=1e-4)


def test_a_budget_overrides_the_rank_with_the_largest_that_fits(vit):
    counts = count_model(vit)
    room = 0.3 * sum(layer.params for layer in counts.layers)
    each = sum(layer.in_features + layer.out_features for layer in counts.layers)
    for student in (applied(vit, rank=1, budget=0.3), applied(vit, budget=0.3)):
        ranks = {layer.r["default"] for layer in adapters(student).values()}
        assert ranks == {int(room / each)}
    with pytest.raises(ValueError, match="budget 0.0001 is too small for rank 1 in 8 layers"):
        applied(vit, budget=1e-4)


def test_what_is_known_about_the_model_is_not_counted_again(vit, monkeypatch):
    counts = count_model(vit)

    def again(*_, **__):
        raise AssertionError("it was counted already")

    monkeypatch.setattr("pclora_lab.methods.lora.count_model", again)
    LoRA(LoRAConfig(rank=2)).apply(vit, context(counts=counts))
    with pytest.raises(AssertionError, match="counted already"):
        LoRA(LoRAConfig(rank=2)).apply(vit, context())


def test_a_model_that_does_not_know_its_input_is_counted_with_the_example():
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    student = LoRA(LoRAConfig(rank=2, targets="^0$")).apply(net, context(example=torch.zeros(1, 6)))
    assert list(adapters(student)) == ["0"]


def test_A_follows_the_seed_and_no_other_generator(vit):
    state = torch.get_rng_state()
    one, again, other = applied(vit), applied(vit), applied(vit, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    for name, adapter in adapters(one).items():
        drawn, same, another = (
            adapters(student)[name].lora_A["default"].weight for student in (one, again, other)
        )
        assert adapter.lora_A["default"].weight is drawn
        assert torch.equal(drawn, same) and not torch.equal(drawn, another)


def test_dropout_is_on_the_adapter_s_input_in_training_only(vit, images):
    student = moved(applied(vit, dropout=0.5))
    assert {m.lora_dropout["default"].p for m in adapters(student).values()} == {0.5}
    student.eval()
    assert torch.equal(student(images), student(images))
    student.train()
    assert not torch.equal(student(images), student(images))
    none = moved(applied(vit)).train()
    assert torch.equal(none(images), none(images))


class Own(nn.Linear):
    """Somebody's own kind of linear layer."""


def test_layers_of_a_computed_weight_or_an_own_kind_become_ordinary_ones():
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), Own(6, 6), nn.Linear(6, 3)).eval()
    net[0] = parametrizations.weight_norm(net[0])
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    student = LoRA(LoRAConfig(rank=2, targets="^[023]$")).apply(net, context(example=x[:1]))
    bases = {name: layer.get_base_layer() for name, layer in adapters(student).items()}
    assert [type(bases[name]) for name in "023"] == [nn.Linear] * 3
    torch.testing.assert_close(bases["0"].weight, net[0].weight)
    for number in (2, 3):
        base = bases[str(number)]
        assert base is not net[number]
        assert base.weight.data_ptr() == net[number].weight.data_ptr()
    merged = LoRA(LoRAConfig()).finalize(moved(student))
    torch.testing.assert_close(merged(x), student.eval()(x), atol=1e-5, rtol=1e-4)
    assert not isinstance(net[0].weight, nn.Parameter), "the model keeps its own"


class Wandering(nn.Module):
    """Gives something else each time that it is asked."""

    def forward(self, x):
        return x + torch.rand(1)


def test_a_student_that_does_not_begin_at_the_model_is_refused():
    net = nn.Sequential(nn.Linear(4, 4), Wandering())
    with pytest.raises(ValueError, match="does not begin at the model's outputs"):
        LoRA(LoRAConfig(rank=1, targets="^0$")).apply(net, context(example=torch.ones(1, 4)))
    assert all(p.requires_grad for p in net.parameters())


def test_it_says_that_nothing_gets_smaller(vit):
    method = LoRA(LoRAConfig())
    assert not method.compresses and method.starts_from == "pretrained"
    assert method.plan(method.count(vit), vit).whole_model.params_removed == 0


def test_only_its_own_student_is_merged(vit):
    with pytest.raises(ValueError, match="VisionTransformer is no student of LoRA: pass apply's"):
        LoRA(LoRAConfig()).finalize(vit)


@pytest.mark.parametrize(
    ("field", "inside", "outside"),
    [
        ("rank", (1, 4096), (0, 4097, 2.5)),
        ("budget", (1e-6, 1, None), (0, 1.1)),
        ("alpha", (1e-3, 1e6), (0, -1.0, 9e-4)),
        ("dropout", (0, 0.9), (-0.1, 0.91)),
    ],
)
def test_options_have_bounds(field, inside, outside):
    for value in inside:
        assert getattr(LoRAConfig(**{field: value}), field) == value
    for value in outside:
        with pytest.raises(ValueError, match=field):
            LoRAConfig(**{field: value})
