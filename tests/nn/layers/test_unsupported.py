"""Models of which no student can be made are refused by the module's name, with a cure."""

import functools
from types import MethodType, SimpleNamespace

import pytest
import torch
from torch import nn

from pclora_lab.nn.layers.unsupported import refuse_unsupported


def plain() -> nn.Linear:
    return nn.Linear(2, 2, bias=False)


def scripted() -> nn.Module:
    class Script(torch.jit.ScriptModule):
        """What torch.jit.script and torch.jit.load return is one of these."""

    return Script()


def sparse() -> nn.Module:
    layer = plain()
    layer.weight = nn.Parameter(layer.weight.detach().to_sparse())
    return layer


def wrapped(make) -> nn.Module:
    layer = plain()
    layer.forward = make(layer)
    return layer


def around_the_method(layer: nn.Module):
    own = layer.forward
    return lambda x: own(x) + 1


def around_the_module(layer: nn.Module):
    return lambda x: nn.functional.linear(x, layer.weight)


def hooked(*, inside: bool, offload: bool = True) -> nn.Module:
    layer, hook = plain(), SimpleNamespace(offload=offload)
    layer._hf_hook = SimpleNamespace(hooks=[SimpleNamespace(), hook]) if inside else hook
    return layer


def sharded() -> nn.Module:
    return type("FullyShardedDataParallel", (nn.Linear,), {})(2, 2)


def distributed() -> nn.Module:
    layer = plain()
    layer._parameters["weight"] = type("DTensor", (torch.Tensor,), {})(torch.ones(2, 2))
    return layer


@torch.inference_mode()
def of_inference() -> nn.Module:
    return plain()


REFUSED = {
    "script": (scripted, "Script", "is TorchScript.*pass the Python model"),
    "lazy": (lambda: nn.LazyLinear(3), "LazyLinear", "has no weights yet: run the model once"),
    "sparse": (sparse, "Linear", r"has a sparse weight.*call to_dense\(\)"),
    "method": (lambda: wrapped(around_the_method), "Linear", "has a forward .*put .*MethodType"),
    "module": (lambda: wrapped(around_the_module), "Linear", "has a forward .*put .*MethodType"),
    "offloaded": (lambda: hooked(inside=False), "Linear", "is offloaded.*without device_map"),
    "one of several": (lambda: hooked(inside=True), "Linear", "is offloaded.*device_map"),
    "sharded": (sharded, "FullyShardedDataParallel", "is sharded over several processes"),
    "distributed": (distributed, "Linear", "is sharded over several processes"),
    "inference": (of_inference, "Linear", "was made under torch.inference_mode"),
}


@pytest.mark.parametrize(("build", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_each_cause_is_named_with_the_module_and_the_cure(build, kind, message):
    with pytest.raises(ValueError, match=f"^{kind} {message}"):
        refuse_unsupported(build())
    deep = nn.Sequential(plain(), nn.ModuleDict({"part": build()}))
    with pytest.raises(ValueError, match=rf"^1\.part \({kind}\) {message}"):
        refuse_unsupported(deep)


def bound() -> nn.Module:
    layer = plain()
    layer.forward = MethodType(lambda self, x: x, layer)
    return layer


def of_numbers() -> nn.Module:
    layer, scale = plain(), 2.0
    layer.forward = lambda x: scale * x
    return layer


TAKEN = {
    "plain": plain,
    "bound": bound,
    "a function of numbers": of_numbers,
    "a function of nothing": lambda: wrapped(lambda layer: lambda x: x),
    "a partial": lambda: wrapped(lambda layer: functools.partial(torch.mul, 2)),
    "a hook that offloads nothing": lambda: hooked(inside=False, offload=False),
    "several of them": lambda: hooked(inside=True, offload=False),
    "without values": lambda: plain().to("meta"),
    "without parameters": nn.Identity,
}


@pytest.mark.parametrize("build", TAKEN.values(), ids=TAKEN)
def test_what_only_looks_like_it_is_taken(build):
    refuse_unsupported(build())
    refuse_unsupported(nn.Sequential(build(), nn.ReLU()))


def test_weights_must_be_all_there_or_none_of_them():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    with pytest.raises(ValueError, match=r"^1\.weight of Sequential has no values .*load all"):
        refuse_unsupported(model)
    refuse_unsupported(model.to("meta"))
