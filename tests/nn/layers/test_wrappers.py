"""Adapters of another library are merged before a model is taken, or refused."""

from types import SimpleNamespace

import peft
import pytest
import torch
from tiny_hf import config
from torch import nn
from transformers import AutoModelForSequenceClassification

from pclora_lab.nn.layers.wrappers import inner_modules, unwrapped


def test_an_adapter_inside_a_model_of_transformers_is_merged():
    """As its own ``add_adapter`` leaves it: no wrapper, and yet the model has a base model."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config("bert")).eval()
    adapter = peft.LoraConfig(target_modules=["query"], init_lora_weights=False, r=2)
    peft.inject_adapter_in_model(adapter, model)
    assert hasattr(model, "base_model")
    ids = torch.arange(6)[None]
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        plain = unwrapped(model)
        torch.testing.assert_close(plain(input_ids=ids).logits, expected)
    kinds = {kind.__name__ for module in plain.modules() for kind in type(module).__mro__}
    assert not any("Lora" in kind for kind in kinds)


def test_an_adapter_that_is_not_finite_is_not_merged():
    model = peft.get_peft_model(
        torch.nn.Sequential(torch.nn.Linear(4, 4)),
        peft.LoraConfig(target_modules=["0"], init_lora_weights=False, r=2),
    )
    with torch.no_grad():
        model.base_model.model[0].lora_A["default"].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="can't be merged: NaNs detected"):
        unwrapped(model)


class Net(nn.Module):
    """Has a buffer, a computed tensor and two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("scale", torch.ones(1))
        self.twice = 2 * self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)) * self.scale


def wrap(kind: str, child: str, module: nn.Module) -> nn.Module:
    """A wrapper of such a class, with the module as such a child."""
    made = type(kind, (nn.Module,), {})()
    made.add_module(child, module)
    return made


@pytest.mark.parametrize(
    ("kind", "child"),
    [
        ("OptimizedModule", "_orig_mod"),
        ("DataParallel", "module"),
        ("DistributedDataParallel", "module"),
        ("AveragedModel", "module"),
        ("ModelEma", "module"),
        ("ModelEmaV2", "module"),
        ("ModelEmaV3", "module"),
    ],
)
def test_the_model_itself_is_inside_its_wrappers(kind, child):
    net = Net()
    assert unwrapped(wrap(kind, child, wrap(kind, child, net))) is net
    assert unwrapped(net) is net
    other = wrap("Other", child, net)
    assert unwrapped(other) is other
    hollow = type(kind, (nn.Module,), {})()
    assert unwrapped(hollow) is hollow, "it holds no model"
    subclass = type("Mine", (type(wrap(kind, child, net)),), {})()
    subclass.add_module(child, net)
    assert unwrapped(subclass) is net


def test_a_wrapper_inside_gives_way_in_a_copy_on_the_same_tensors():
    net = Net()
    plain, net.second = net.second, wrap("DataParallel", "module", net.second)
    found = unwrapped(net)
    assert found is not net and type(net.second).__name__ == "DataParallel"
    assert list(found.state_dict()) == list(Net().state_dict())
    assert found.second.weight is plain.weight and found.first.bias is net.first.bias
    assert found.scale is net.scale and found.twice is net.twice
    net.second = wrap("DataParallel", "module", wrap("OptimizedModule", "_orig_mod", plain))
    assert unwrapped(net).second.weight is plain.weight


def test_a_compiled_forward_is_left_out_and_one_of_somebodys_own_stays():
    net, x = Net(), torch.ones(1, 4)
    net.forward = torch.compile(net.forward, backend="eager")
    found = unwrapped(net)
    assert "forward" not in vars(found) and "forward" in vars(net)
    assert torch.equal(found(x), Net.forward(net, x))
    assert found.first.weight is net.first.weight
    own = Net()
    for forward in (lambda x: x, torch.compile(lambda x: x, backend="eager")):
        own.forward = forward
        assert unwrapped(own) is own


def test_every_module_that_runs_is_known_by_its_name_without_wrappers():
    net = Net()
    inner, net.second = net.second, wrap("DataParallel", "module", net.second)
    found = inner_modules(wrap("OptimizedModule", "_orig_mod", net))
    assert found == {"": net, "first": net.first, "second": inner}
    net.first.parent = nn.ModuleDict()
    net.first.parent.add_module("up", net)
    assert set(inner_modules(net)) == {"", "first", "first.parent", "second"}, "round and round"


def test_adapters_are_left_out_of_the_names_too():
    net = peft.get_peft_model(
        nn.Sequential(nn.Linear(4, 4)), peft.LoraConfig(target_modules=["0"], r=2)
    )
    assert inner_modules(net)["0"] is net.base_model.model[0]


def test_a_head_that_was_trained_beside_an_adapter_is_the_trained_one():
    torch.manual_seed(0)
    config = peft.LoraConfig(
        target_modules=["first"], modules_to_save=["second"], init_lora_weights=False, r=2
    )
    net, x = peft.get_peft_model(Net(), config).eval(), torch.ones(1, 4)
    with torch.no_grad():
        for parameter in net.base_model.model.second.modules_to_save.parameters():
            parameter.add_(1.0)
        before = {name: p.clone() for name, p in net.named_parameters()}
        plain = unwrapped(net)
        torch.testing.assert_close(plain(x), net(x))
    assert type(plain) is Net and type(plain.first) is type(plain.second) is nn.Linear
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert plain.scale is not None and not hasattr(plain, "peft_config")


def test_a_wrapper_of_adapters_without_any_gives_way_to_its_model():
    net = Net()
    wrapper = wrap("PeftModel", "base_model", wrap("LoraModel", "model", net))
    found = unwrapped(wrapper)
    assert type(found) is Net and found.first.weight is net.first.weight


def test_a_learned_prompt_is_refused_by_the_kind_of_its_model():
    wrapper = wrap("PeftModel", "base_model", wrap("LoraModel", "model", Net()))
    wrapper.active_peft_config = SimpleNamespace(is_prompt_learning=True)
    with pytest.raises(ValueError, match="^PeftModel has a learned prompt, which can't be merged"):
        unwrapped(wrapper)
