"""A copy shares what it is told to, holds the rest itself, and says what can't be copied."""

import threading
from types import SimpleNamespace

import pytest
import torch
from pretend_cuda import PretendCuda
from torch import nn

from pclora_lab.nn.layers.copying import copied, deepcopy_sharing, meta_copy, on_cpu, results_in


class Keeps(nn.Module):
    """Has a parameter, a buffer, and computed tensors of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("mean", torch.zeros(2))
        self.twice = 2 * self.weight
        self.cache = {"thrice": 3 * self.weight}
        self.constant = torch.tensor([5.0, 5.0])
        self.tied = nn.Linear(2, 2)
        self.again = nn.Linear(2, 2)
        self.again.weight = self.tied.weight


def test_what_a_module_computed_is_found_and_its_parameters_are_not():
    model = nn.Sequential(Keeps())
    found = {id(t) for t in results_in(model)}
    kept = model[0]
    assert {id(kept.twice), id(kept.cache["thrice"]), id(kept.constant)} <= found
    assert not found & {id(p) for p in model.parameters()}


def test_a_copy_shares_the_parameters_that_it_is_told_to_and_no_other_tensor():
    model = Keeps()
    twin = deepcopy_sharing(model, [model.tied.weight])
    assert twin.tied.weight is model.tied.weight is twin.again.weight
    pairs = [
        (twin.weight, model.weight),
        (twin.mean, model.mean),
        (twin.twice, model.twice),
        (twin.cache["thrice"], model.cache["thrice"]),
        (twin.constant, model.constant),
        (twin.tied.bias, model.tied.bias),
    ]
    for own, other in pairs:
        assert torch.equal(own, other) and own.data_ptr() != other.data_ptr()
    assert twin.twice.grad_fn is None and model.twice.grad_fn is not None
    assert twin.cache is not model.cache and twin.weight.requires_grad


def test_a_twin_without_storage_has_all_shapes_and_ties_and_trains_nothing():
    model = Keeps()
    model.config = SimpleNamespace(pad_token_id=3, width=2)
    twin = meta_copy(model)
    assert all(t.is_meta for t in (*twin.parameters(), *twin.buffers()))
    assert all(t.is_meta for t in (twin.twice, twin.cache["thrice"], twin.constant))
    assert {n: p.shape for n, p in twin.named_parameters()} == {
        n: p.shape for n, p in model.named_parameters()
    }
    assert twin.tied.weight is twin.again.weight
    assert not any(p.requires_grad for p in twin.parameters())
    assert all(p.requires_grad and not p.is_meta for p in model.parameters())
    assert (twin.config.pad_token_id, twin.config.width) == (None, 2)
    assert model.config.pad_token_id == 3, "the model is only read"


def test_a_twin_of_what_has_no_padding_keeps_its_configuration():
    model = nn.Linear(2, 2)
    model.config = SimpleNamespace(width=2)
    assert vars(meta_copy(model).config) == {"width": 2}


def test_a_model_on_the_cpu_is_taken_itself_and_one_elsewhere_is_copied():
    model = Keeps()
    assert on_cpu(model) is model
    with PretendCuda():
        model.mean = model.mean.to("cuda")
        here = on_cpu(model)
        assert here is not model and here.mean.is_cpu and model.mean.is_cuda
        assert here.weight is not model.weight
        model = nn.Linear(2, 2).to("cuda")
        assert on_cpu(model).weight.is_cpu and model.weight.is_cuda


class Holds(nn.Module):
    def __init__(self, **values: object) -> None:
        super().__init__()
        vars(self).update(values)


def test_what_can_not_be_copied_is_named_with_its_place_and_a_cure():
    lock = threading.Lock()
    message = r"Holds can't be copied: its guard is a lock \(.*\). Take it out .* __deepcopy__"
    with pytest.raises(ValueError, match=f"^{message}"):
        copied(Holds(fine=[1], guard=lock), {})
    deep = nn.Sequential(nn.Linear(2, 2), Holds(fine=[1], guard=lock))
    deep[1].parent = [deep]
    with pytest.raises(ValueError, match=r"^1 \(Holds\) can't be copied: its guard is a lock"):
        copied(deep, {})


def test_what_is_hidden_is_named_by_its_model_alone():
    model = nn.Sequential(Holds(_guard=threading.Lock()))
    with pytest.raises(ValueError, match=r"^Sequential can't be copied: cannot pickle"):
        copied(model, {})


def test_a_value_of_a_model_that_can_be_copied_is_not_blamed():
    """The first that fails alone is; modules and tensors are copied with the model."""
    inner = Holds(_guard=threading.Lock())
    model = Holds(part=inner, number=torch.ones(1) * 2, guard=threading.Lock())
    with pytest.raises(ValueError, match="its guard is a lock"):
        copied(model, {})
