"""A weight that is multiplied out where it is used, known without it, and never written into."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pclora_lab.nn.layers.product_weight import product_weight


class Factors:
    """B A, and how often it was multiplied."""

    def __init__(self, **kind: object) -> None:
        self.count = 0
        self.A = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True, **kind)
        self.B = torch.tensor([[1.0], [10.0]], **kind)

    def product(self) -> torch.Tensor:
        self.count += 1
        return self.B @ self.A

    def weight(self, like: torch.Tensor | None = None) -> torch.Tensor:
        return product_weight(self.product, (2, 3), self.A if like is None else like)


def test_what_is_known_of_it_is_known_without_multiplying():
    factors = Factors(dtype=torch.float64)
    weight = factors.weight()
    assert weight.shape == weight.size() == (2, 3) and weight.ndim == weight.dim() == 2
    assert weight.dtype is torch.float64 and weight.device.type == "cpu" and weight.is_cpu
    assert weight.numel() == 6 and weight.element_size() == weight.itemsize == 8
    assert weight.nbytes == 48 and weight.stride() == (3, 1) and weight.is_leaf
    assert weight.is_floating_point() and torch.is_floating_point(weight)
    assert not (weight.is_complex() or weight.is_cuda or weight.is_meta or weight.is_sparse)
    assert weight.layout is torch.strided and not weight.is_quantized and weight.get_device() == -1
    assert weight.requires_grad and not factors.weight(torch.zeros(1)).requires_grad
    assert factors.count == 0


def test_its_values_are_those_of_the_factors_now_and_gradients_reach_them():
    factors = Factors()
    weight = factors.weight()
    x = torch.ones(1, 3)
    assert F.linear(x, weight).tolist() == [[6.0, 60.0]] and factors.count == 1
    with torch.no_grad():
        factors.A.mul_(2)
    (weight.sum() + (x @ weight.T).sum()).backward()
    assert factors.A.grad.tolist() == [[22.0] * 3]
    assert torch.equal(torch.add(input=weight, other=0), factors.product())
    assert torch.stack([weight, weight]).shape == (2, 2, 3)


def test_another_tensor_may_be_written_with_it():
    weight = Factors().weight(torch.zeros(1)).detach()
    other = torch.zeros(2, 3)
    assert other.copy_(weight).tolist() == other.add(0).tolist() == [[1, 2, 3], [10, 20, 30]]
    with torch.no_grad():
        other.mul_(Factors().weight())
        torch.add(Factors().weight(), 1, out=other)
    assert other.tolist() == [[2, 3, 4], [11, 21, 31]]


def set_item(weight: torch.Tensor) -> None:
    weight[0] = 1.0


def add_to(weight: torch.Tensor) -> None:
    weight += 1


def set_data(weight: torch.Tensor) -> None:
    weight.data = torch.ones(2, 3)


WORD = torch.zeros(1, dtype=torch.long)
# Every function of torch's that may overwrite what it is given.
IN_PLACE = [
    name
    for name, function in inspect.getmembers(F, inspect.isfunction)
    if name[0] != "_" and "inplace" in inspect.signature(function).parameters
]


def in_place(name: str):
    more = {"threshold": 0.0, "value": 1.0} if name == "threshold" else {}
    return lambda weight: getattr(F, name)(weight, **more, inplace=True)


WRITES = {
    "method": lambda weight: weight.zero_(),
    "function": lambda weight: torch.relu_(weight),
    "by name": lambda weight: torch.relu_(input=weight),
    "item": set_item,
    "operator": add_to,
    "data": set_data,
    "read data": lambda weight: weight.data.zero_(),
    "start": nn.init.zeros_,
    "random start": nn.init.normal_,
    "scaled start": lambda weight: nn.init.kaiming_uniform_(weight, a=2),
    "out": lambda weight: torch.add(torch.ones(2, 3), 1, out=weight),
    "list": lambda weight: torch._foreach_zero_([torch.ones(2, 3), weight]),
    "overload": lambda weight: torch.ops.aten.relu_.default(weight),
    "normalized": lambda weight: F.normalize(torch.ones(2, 3), out=weight),
    "looked up": lambda weight: F.embedding(WORD, weight, max_norm=0.1),
    "looked up in bags": lambda weight: F.embedding_bag(WORD[None], weight, max_norm=0.1),
    "module": lambda weight: nn.ReLU(inplace=True)(weight),
    **{f"{name} in place": in_place(name) for name in IN_PLACE},
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("with_grad", [True, False])
def test_what_would_be_lost_is_refused_with_a_cure(write, with_grad):
    factors = Factors()
    with torch.set_grad_enabled(with_grad), pytest.raises(RuntimeError, match="factors, so what"):
        write(factors.weight())
    assert factors.count == 0 and factors.A.tolist() == [[1.0, 2.0, 3.0]]


@torch.no_grad()
def test_what_makes_a_new_tensor_of_it_is_not_refused():
    weight, x = Factors().weight(torch.zeros(1)), torch.full((2, 3), -1.0)
    assert F.relu(weight, inplace=False).tolist() == weight.tolist()
    assert F.dropout(weight, training=False).tolist() == weight.tolist()
    assert F.embedding(WORD, weight).tolist() == [[1, 2, 3]]
    assert F.normalize(weight, out=torch.empty(2, 3))[0, 1] == pytest.approx(2 / 14**0.5)
    assert F.relu(x, inplace=True).add(weight).tolist() == weight.tolist()
    assert F.hardtanh(weight, 0.0, 2.0).tolist() == [[1, 2, 2], [2, 2, 2]]


def test_transformers_draws_nothing_for_it():
    assert Factors().weight()._is_hf_initialized


def test_a_tensor_operation_that_sees_it_underneath_gets_its_values():
    """As in a dispatch mode, or where torch asks a tensor without storage."""

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    weight = Factors().weight(torch.zeros(1))
    with Seen(), torch._C.DisableTorchFunctionSubclass():
        assert torch.mul(weight, 2).tolist() == [[2, 4, 6], [20, 40, 60]]
        assert torch.sum(weight, dim=0).tolist() == [11, 22, 33]
        assert torch.sum(weight, dtype=torch.float64).dtype is torch.float64


def test_a_tracer_gets_the_product_itself(monkeypatch):
    for name in ("torch.compiler.is_compiling", "torch.jit.is_tracing"):
        with monkeypatch.context() as patch:
            patch.setattr(name, lambda: True)
            assert type(Factors().weight()) is torch.Tensor
    assert type(Factors().weight()) is not torch.Tensor
